//! Which addresses a registry may have. A public name can be made to resolve to any of them, so what lies behind the
//! executor's own machine, its network and its cloud is not dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Services that hand a machine's credentials to whoever asks from it.
const METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// # Errors
/// What kind of address it is, when it is not to be dialled. The operator's networks are exceptions for all but a cloud's
/// metadata.
pub(super) fn check(address: IpAddr, allowed: &[IpNet]) -> Result<(), &'static str> {
    let address = behind(address);
    if METADATA.contains(&address) {
        return Err("a cloud's metadata service");
    }
    match kind(address) {
        Some(kind) if !allowed.iter().any(|network| network.contains(&address)) => Err(kind),
        _ => Ok(()),
    }
}

/// The address that a packet comes to in the end: an IPv6 address may have an IPv4 address in it.
fn behind(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [s0, s1, s2, s3, s4, s5, high, low] = v6.segments();
    let joined = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match [s0, s1, s2, s3, s4, s5] {
        // Mapped (RFC 4291), translated (RFC 2765) and NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => joined(high, low),
        // Compatible (RFC 4291), which :: and ::1 are not.
        [0, 0, 0, 0, 0, 0] if high != 0 => joined(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => joined(high, low),
        _ => address,
    }
}

fn kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => kind_of_v4(v4),
        IpAddr::V6(v6) => kind_of_v6(v6),
    }
}

/// Networks for documentation are no danger: nobody is there.
fn kind_of_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [127, ..] => Some("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("a private address"),
        [169, 254, ..] => Some("a link-local address"),
        [100, 64..=127, ..] => Some("a carrier's private address"),
        [192, 0, 0, _] | [198, 18..=19, ..] | [240..=255, ..] => Some("a reserved address"),
        [224..=239, ..] => Some("a multicast address"),
        _ => None,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("unspecified");
    }
    if address.is_loopback() {
        return Some("a loopback address");
    }
    match address.segments() {
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        // Of a translator's own network (RFC 8215), or of a tunnel (RFC 4380): where it ends is not in the address.
        [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => Some("a translated address"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(address: &str, allowed: &[&str]) -> Result<(), &'static str> {
        let allowed: Vec<IpNet> = allowed.iter().map(|network| network.parse().unwrap()).collect();
        check(address.parse().unwrap(), &allowed)
    }

    #[test]
    fn what_is_not_the_internet_is_not_dialled_in_whatever_form() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.255",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "2001:0:1::",
            "100::1",
        ] {
            assert!(verdict(address, &[]).is_err(), "{address}");
        }
    }

    #[test]
    fn the_internet_is_dialled_in_whatever_form() {
        for address in [
            "104.16.0.35",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "203.0.113.80",
            "2606:4700::6810:23",
            "::ffff:104.16.0.35",
            "64:ff9b::104.16.0.35",
            "2002:6810:23::1",
        ] {
            assert_eq!(verdict(address, &[]), Ok(()), "{address}");
        }
    }

    #[test]
    fn the_operators_networks_are_exceptions_and_a_clouds_metadata_never_is() {
        assert_eq!(verdict("10.1.2.3", &["10.1.0.0/16"]), Ok(()));
        assert_eq!(verdict("::ffff:10.1.2.3", &["10.1.0.0/16"]), Ok(()));
        assert_eq!(verdict("fd12::1", &["fd12::/16"]), Ok(()));
        assert!(verdict("10.2.0.1", &["10.1.0.0/16", "fd12::/16"]).is_err());
        for metadata in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"] {
            assert!(verdict(metadata, &["0.0.0.0/0", "::/0"]).is_err(), "{metadata}");
        }
    }

    proptest! {
        #[test]
        fn an_address_within_another_one_is_judged_as_itself(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let plain = check(IpAddr::V4(v4), &[]);
            for v6 in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(check(IpAddr::V6(v6), &[]), plain);
            }
        }

        #[test]
        fn what_the_standard_library_calls_local_is_never_dialled(bits: u128, short: u32) {
            let (v4, v6) = (Ipv4Addr::from(short), Ipv6Addr::from(bits));
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() {
                prop_assert!(check(IpAddr::V4(v4), &[]).is_err());
            }
            if v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_multicast() || v6.is_loopback() {
                prop_assert!(check(IpAddr::V6(v6), &[]).is_err());
            }
        }
    }
}
