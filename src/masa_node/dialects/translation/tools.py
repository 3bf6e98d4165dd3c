"""Tools that a server runs itself (search, code, files): no other server has them."""

from masa_node.dialects.translation.losses import Losses, refuse


def leave_out_hosted(hosted: list[str], forced: str | None, losses: Losses, *, has_others: bool) -> None:
    """Beside tools of the caller's own the model can do without them, and they are left out by name.

    Raises `NotTranslatable` where nothing else was offered, or where the model has to use one.
    """
    if not hosted:
        return
    if not has_others or (forced is not None and forced in hosted):
        raise refuse("tools", f"{', '.join(hosted[:4])}: such a tool runs on the format's own servers only.")
    losses.drop(*hosted)
