"""The mutants that no test kills because they mean the same as the original: see docs/mutation-testing.md.

By module, then by the place and the change as `make mutants` names them. Each explains one.
"""

_NOT_FROZEN = "not frozen: nothing writes to one, the type checker sees to that"
_NO_HASH = "compared where there is none with this id, for the time that takes: nothing is found, however it compares"
_SHOWN_NOWHERE = "members are compared, their words are shown nowhere"

EXPLAINED: dict[str, dict[tuple[str, str], str]] = {
    "masa_node.network.links.vouchers": {
        ("Voucher", "to False: True"): _NOT_FROZEN,
    },
    "masa_node.api.guard": {
        ("GuardRules", "to False: True"): "not frozen: nothing writes to them, the type checker sees to that",
        (
            "check_host_and_origin",
            "always: if hosts[0] not in self._good_hosts:",
        ): "what was good is good again",
        ("_check_host", "to 1: 0"): "a Host without a port: it is only looked at whether the port is too large",
    },
    "masa_node.accounts.keys": {
        ("NamedKey", "to False: True"): _NOT_FROZEN,
        ("_NO_HASH", "to '00': '0'"): _NO_HASH,
        ("_NO_HASH", "to 65: 64"): _NO_HASH,
        ("__init__", "to 1: 0"): "where the count of changes begins: it is only asked whether it is another",
        ("find", "never: if not self._by_id:"): "among no keys none is found: not to look saves time",
    },
    "masa_node.accounts.key_limits": {
        ("_Use", "to False: True"): "with slots or without: memory",
        ("_take_turn", "to GtE: wait_s > 1e-06"): "exactly so much is not told apart: it is for what fractions add",
    },
    "masa_node.accounts.access": {
        ("Caller", "to False: True"): _NOT_FROZEN,
        ("run", "to And: self._watch is None or self._masa_dir is None"): "both are None, or neither",
        (
            "in_session",
            "always: self.sessions.find(offered) if self.sessions else None",
        ): "among no sessions none is found: not to look saves time",
    },
    "masa_node.accounts.sessions": {
        ("Session", "to False: True"): _NOT_FROZEN,
        ("_NO_HASH", "to '00': '0'"): _NO_HASH,
        ("_NO_HASH", "to 65: 64"): _NO_HASH,
        ("find", "never: if not offered.startswith(PREFIX):"): "its hash decides: not to look saves time",
    },
    "masa_node.network.transport.addresses": {
        ("PUBLIC", "to 'publicpublic': 'public'"): _SHOWN_NOWHERE,
        ("PRIVATE", "to 'privateprivate': 'private'"): _SHOWN_NOWHERE,
        ("LINK_LOCAL", "to 'link-locallink-local': 'link-local'"): _SHOWN_NOWHERE,
        ("LOOPBACK", "to 'loopbackloopback': 'loopback'"): _SHOWN_NOWHERE,
        ("NOWHERE", "to 'nowherenowhere': 'nowhere'"): _SHOWN_NOWHERE,
        ("relay_key", "to '..': '.'"): "the same set of characters",
    },
    "masa_node.staking.delegation": {
        ("_Wire", "to False: True"): "not frozen: it never leaves the function that makes it",
        ("KNOWN_DOMAINS", "to 17: 16"): "the size of a cache: what is in it decides nothing",
        ("_span", "returns None: return f'{int(seconds)} s'"): "never asked for so short a time",
    },
}
