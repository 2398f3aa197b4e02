//! Which addresses are somebody's on the internet. Everything that dials where a user of the cluster points asks here; otherwise the
//! operator would be a way into the cluster's network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 address that an IPv6 address stands for, where it does.
pub fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else {
        return address;
    };
    let low = |bits: u128| IpAddr::V4(Ipv4Addr::from_bits((bits & 0xffff_ffff) as u32));
    let bits = six.to_bits();
    let within =
        |network: Ipv6Addr, prefix: u32| (bits ^ network.to_bits()).leading_zeros() >= prefix;
    // `::` and `::1` are IPv6's own.
    if six.is_unspecified() || six.is_loopback() {
        address
    } else if [
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0),
    ]
    .into_iter()
    .any(|network| within(network, 96))
    {
        low(bits)
    } else if within(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16) {
        low(bits >> 80)
    } else if within(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32) {
        // Teredo: the client's address, inverted.
        low(!bits)
    } else {
        address
    }
}

/// Whether an address is somebody's on the internet. Source: IANA's special-purpose address registries.
pub fn is_public(address: IpAddr) -> bool {
    match unwrapped(address) {
        IpAddr::V4(four) => {
            let bits = four.to_bits();
            !NOT_PUBLIC_V4.into_iter().any(|(network, prefix)| {
                (bits ^ Ipv4Addr::from(network).to_bits()).leading_zeros() >= prefix
            })
        }
        IpAddr::V6(six) => {
            let bits = six.to_bits();
            let within = |(network, prefix): (Ipv6Addr, u32)| {
                (bits ^ network.to_bits()).leading_zeros() >= prefix
            };
            within((Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3))
                && ![
                    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
                    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
                    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
                ]
                .into_iter()
                .any(within)
        }
    }
}

const NOT_PUBLIC_V4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_somebodys_address_on_the_internet_is_public() {
        for (address, public) in [
            ("1.1.1.1", true),
            ("172.15.0.1", true),
            ("172.32.0.1", true),
            ("100.128.0.1", true),
            ("192.0.1.1", true),
            ("2606:4700::1111", true),
            ("::ffff:1.1.1.1", true),
            ("64:ff9b::1.1.1.1", true),
            ("2002:101:101::", true),
            ("0.0.0.0", false),
            ("10.96.0.1", false),
            ("100.64.0.1", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("192.168.1.1", false),
            ("198.19.0.1", false),
            ("203.0.113.7", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::7f00:1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:0:10.0.0.1", false),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b:1::1", false),
            ("2002:a00:1::", false),
            // Teredo of 10.0.0.1: inverted.
            ("2001::f5ff:fffe", false),
            ("2001:db8::1", false),
            ("2001:2::1", false),
            ("3fff::1", false),
            ("fc00::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
