from masa_node.network.transport.sources import networks_of, source_of, subnet_of


def test_the_addresses_of_one_customer_are_one_site() -> None:
    assert subnet_of("[2001:db8:1:2::3]:4") == subnet_of("[2001:db8:1:2:ffff::9]:5")
    assert subnet_of("[2001:db8:1:2::3]:4") != subnet_of("[2001:db8:1:3::3]:4")
    assert subnet_of("1.2.3.4:5") == subnet_of("1.2.3.4:6") == subnet_of("[::ffff:1.2.3.4]:7") != subnet_of("1.2.3.5:5")
    assert subnet_of("odd") == "odd"


def test_a_site_and_a_provider_have_many_customers() -> None:
    assert networks_of("[2001:db8:7:1::1]:4") == ("2001:db8::/32", "2001:db8:7::/48", "2001:db8:7:1::/64")
    assert networks_of("192.0.2.9:4") == ("192.0.0.0/16", "192.0.2.0/24", "192.0.2.9")
    assert source_of("[2001:db8:7:1::1]:4") == ("2001:db8:7::/48", "2001:db8:7:1::/64")
    assert networks_of("https://relay.example/") == ("https://relay.example/",)
    assert source_of("https://relay.example/") == ("https://relay.example/",) * 2
