"""The errors about requests that are looked for by their id, or were ended by it."""

from masa_node.chat.errors import CallerError, PolicyError


class UnknownRequest(CallerError):
    """No request with this id is under way here, or none is in the journal any more. See JOURNAL."""

    code = "request_not_found"


class EndedByOwner(PolicyError):
    """The node's owner, or whoever has the same key, ended the request (`DELETE /api/v1/requests/{request_id}`)."""

    code = "ended_by_owner"
