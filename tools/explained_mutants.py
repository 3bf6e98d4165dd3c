"""The mutants that no test kills because they mean the same as the original: see docs/mutation-testing.md.

By module, then by the place and the change as `make mutants` names them. Each explains one.
"""

_SHOWN_NOWHERE = "members are compared, their words are shown nowhere"

EXPLAINED: dict[str, dict[tuple[str, str], str]] = {
    "masa_node.network.links.vouchers": {
        ("Voucher", "to False: True"): "not frozen: nothing writes to one, the type checker sees to that",
    },
    "masa_node.api.guard": {
        ("GuardRules", "to False: True"): "not frozen: nothing writes to them, the type checker sees to that",
        (
            "check_host_and_origin",
            "always: if hosts[0] not in self._good_hosts:",
        ): "what was good is good again",
        ("_check_host", "to 1: 0"): "a Host without a port: it is only looked at whether the port is too large",
        ("_is_usable_address", "to '[][]': '[]'"): "the same set of characters",
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
