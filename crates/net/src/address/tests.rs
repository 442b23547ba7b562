//! Service addresses in a network namespace of the test's own.

use super::{AddressError, ServiceAddresses};
use crate::proxy::testing::Namespace;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 2);
const FOREIGN: Ipv4Addr = Ipv4Addr::new(10, 96, 9, 9);

fn shown(namespace: &Namespace, interface: &str) -> BTreeSet<Ipv4Addr> {
    let text = namespace.ip(&["-4", "-o", "addr", "show", "dev", interface]);
    text.split_whitespace()
        .filter_map(|word| word.strip_suffix("/32")?.parse().ok())
        .collect()
}

#[test]
fn addresses_come_and_go_and_foreign_ones_stay() {
    let namespace = Namespace::new("addr");
    namespace.run(async |namespace| {
        let mut ours = ServiceAddresses::open("flk-test").await.unwrap();
        namespace.ip(&["addr", "add", "10.96.9.9/32", "dev", "flk-test"]);
        ours.replace_all(&BTreeSet::from([FIRST, SECOND]))
            .await
            .unwrap();
        ours.add(FIRST).await.unwrap();
        let all = BTreeSet::from([FIRST, SECOND, FOREIGN]);
        assert_eq!(shown(namespace, "flk-test"), all);

        ours.remove(FIRST).await.unwrap();
        ours.remove(FIRST).await.unwrap();
        ours.remove(FOREIGN).await.unwrap();
        assert_eq!(
            shown(namespace, "flk-test"),
            BTreeSet::from([SECOND, FOREIGN])
        );

        // A later process knows which addresses an earlier one made.
        drop(ours);
        let mut later = ServiceAddresses::open("flk-test").await.unwrap();
        later.replace_all(&BTreeSet::from([FIRST])).await.unwrap();
        assert_eq!(
            shown(namespace, "flk-test"),
            BTreeSet::from([FIRST, FOREIGN])
        );

        // Somebody deletes the interface: the next full pass makes it again.
        namespace.ip(&["link", "del", "flk-test"]);
        later.replace_all(&BTreeSet::from([SECOND])).await.unwrap();
        assert_eq!(shown(namespace, "flk-test"), BTreeSet::from([SECOND]));
    });
}

#[test]
fn an_interface_of_another_kind_is_refused() {
    let namespace = Namespace::new("kind");
    namespace.ip(&["tuntap", "add", "dev", "taken", "mode", "tun"]);
    namespace.run(async |_| {
        let refused = ServiceAddresses::open("taken").await;
        assert!(matches!(refused, Err(AddressError::NotOurs { .. })));
        let refused = ServiceAddresses::open("name-too-long").await;
        assert!(matches!(refused, Err(AddressError::Name { .. })));
    });
}
