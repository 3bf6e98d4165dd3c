"""The errors of changes that an owner wants of a running node: not allowed, not done, not there."""

from masa_node.chat.errors import CallerError, MasaError, PolicyError


class ChangeRefused(PolicyError):
    """Changing the node takes more than seeing it. Run `masa-node console`, or use a key made with `--admin`."""

    code = "change_refused"


class NotDone(MasaError):
    """The node did not do what was asked. The message says why."""

    code = "not_done"


class NoAddress(MasaError):
    """The node's address is not known yet: it finds out when it is on the network for the first time."""

    code = "no_address"


class UnknownInvite(CallerError):
    """There is no invite with this id. `masa-node invites` shows those that there are."""

    code = "invite_not_found"
