"""Who is asked, who waits, who is well: catalog, admission, health, and the dispatcher that uses them.

Import `dispatch` to have an ask answered, `provider` to be something that answers, `catalog` to say who serves what.
"""
