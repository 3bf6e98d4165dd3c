"""The errors of keys with names: what a key does not allow, now or ever."""

from masa_node.chat.errors import PolicyError


class KeyRefused(PolicyError):
    """The key does not allow this. The message says what it allows; the node's owner can give another key."""

    code = "key_refused"


class KeyLimited(PolicyError):
    """The key has as many requests under way, or in this minute, as its owner allows. Try again after `Retry-After`."""

    code = "key_limited"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class KeySpent(PolicyError):
    """The key has used up the tokens that its owner allows a day. The next day begins at midnight UTC."""

    code = "key_spent"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
