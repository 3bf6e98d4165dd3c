"""The errors about requests that are looked for by their id, and about those that were ended before their answer."""

from masa_node.chat.errors import CallerError, MasaError, PolicyError


class UnknownRequest(CallerError):
    """No request with this id is under way here, or none is in the journal any more. See JOURNAL."""

    code = "request_not_found"


class EndedByOwner(PolicyError):
    """The node's owner, or whoever has the same key, ended the request (`DELETE /api/v1/requests/{request_id}`)."""

    code = "ended_by_owner"


class NodeStopping(MasaError):
    """The node was stopped before the answer was whole; ask again in a moment."""

    code = "stopping"
