//! Ports, addresses and saved routes.

use super::super::events::ControlEvent;
use super::super::testing::{
    CLUSTER_ADDRESS, Container, Namespace, TestCluster, TestProxy, ask, inside, route, serving,
    soon,
};
use flocker_types::link::{ProxyMessage, ToProxy};
use flocker_types::route::RouteState;
use std::net::{Ipv4Addr, SocketAddr};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);

/// Listens at port 80 and is willing to share it (perl is part of every Debian).
const SHARING_PROGRAM: &str = "use IO::Socket::INET; $| = 1;
    my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1, ReusePort => 1);
    print $s ? qq(listening\n) : qq(failed\n); sleep 60;";

#[test]
fn a_port_of_another_program_is_reported_with_its_pid_and_taken_when_free() {
    Namespace::new("taken").run(async |namespace| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        let mut foreign = namespace.start("perl", &["-e", SHARING_PROGRAM]);
        assert_eq!(foreign.line(), "listening");
        let web = route("web", 1, 80, RouteState::Down);
        proxy.tell(ControlEvent::Message(ToProxy::Route(web))).await;
        let problem = proxy.answer("a problem", |_| true).await;
        let ProxyMessage::Problem { message, .. } = problem else {
            panic!("{problem:?}");
        };
        let named = format!("port 80 is taken by perl (pid {})", foreign.pid());
        assert!(message.contains(&named), "{message}");
        // Its other listeners are in force meanwhile.
        soon("a reset", ask((CLUSTER_ADDRESS, inside(80))))
            .await
            .unwrap_err();
        drop(foreign);
        let applied = proxy.answer("the recovery", |_| true).await;
        assert!(
            matches!(applied, ProxyMessage::Applied { .. }),
            "{applied:?}"
        );
        soon("a reset", ask((HERE, 80))).await.unwrap_err();
    });
}

#[test]
fn one_port_number_serves_one_service_everywhere_and_another_at_its_cluster_address() {
    Namespace::new("both").run(async |namespace| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        let _first = Container::start(FIRST, inside(80), b'A').await;
        let _second = Container::start(SECOND, 80, b'B').await;
        let _third = Container::start(SECOND, inside(80), b'C').await;
        let web = route("web", 1, 80, serving(1, HERE, FIRST));
        proxy.apply(web).await;
        let mut db = route("db", 2, 80, serving(1, HERE, SECOND));
        db.ports[0].internal = 80;
        db.ports[0].external = None;
        db.cluster_address = Ipv4Addr::new(10, 96, 0, 8);
        proxy.apply(db.clone()).await;
        assert_eq!(ask((HERE, 80)).await.unwrap().1, b'A');
        assert_eq!(ask((CLUSTER_ADDRESS, 80)).await.unwrap().1, b'A');
        assert_eq!(ask((CLUSTER_ADDRESS, inside(80))).await.unwrap().1, b'A');
        assert_eq!(ask((db.cluster_address, 80)).await.unwrap().1, b'B');

        // A rival for port 80 is told who has it; when that one is gone the rival gets it.
        let mut rival = route("rival", 3, 80, serving(1, HERE, SECOND));
        rival.cluster_address = Ipv4Addr::new(10, 96, 0, 9);
        proxy.tell(ControlEvent::Message(ToProxy::Route(rival))).await;
        let problem = proxy.answer("a problem", |_| true).await;
        let ProxyMessage::Problem { message, .. } = problem else {
            panic!("{problem:?}");
        };
        assert!(message.contains("belongs to service web"), "{message}");
        let gone = ToProxy::Gone {
            service: "web".parse().unwrap(),
            generation: flocker_types::ids::Generation(4),
        };
        proxy.tell(ControlEvent::Message(gone)).await;
        let of_rival = |message: &ProxyMessage| {
            matches!(message, ProxyMessage::Applied { service, .. } if service.name.as_str() == "rival")
        };
        proxy.answer("the rival's turn", of_rival).await;
        assert_eq!(ask((HERE, 80)).await.unwrap().1, b'C');
        let shown = namespace.ip(&["-4", "addr", "show", "dev", "flocker0"]);
        assert!(!shown.contains("10.96.0.7/"), "{shown}");
        assert!(shown.contains("10.96.0.8/32"), "{shown}");
    });
}

#[test]
fn a_restarted_proxy_serves_from_its_saved_routes_without_control() {
    Namespace::new("saved").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config.clone()).await;
        let _container = Container::start(FIRST, inside(80), b'A').await;
        proxy
            .apply(route("web", 1, 80, serving(1, HERE, FIRST)))
            .await;
        proxy
            .apply(route("db", 2, 90, RouteState::Held { limit_ms: 9_000 }))
            .await;
        proxy.stop().await;

        let proxy = TestProxy::unlinked(config.clone());
        let served = async {
            loop {
                if let Ok((_, name)) = ask((HERE, 80)).await {
                    return name;
                }
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(soon("the saved route", served).await, b'A');
        // The hold that was saved holds, until control knows better.
        let held = tokio::spawn(ask((HERE, 90)));
        assert_eq!(ask((HERE, 80)).await.unwrap().1, b'A');
        let welcome = ToProxy::Welcome {
            routes: vec![
                route("web", 1, 80, serving(1, HERE, FIRST)),
                route("db", 3, 90, serving(1, HERE, SECOND)),
            ],
        };
        let _second = Container::start(SECOND, inside(90), b'B').await;
        assert!(!held.is_finished());
        proxy.tell(ControlEvent::Message(welcome)).await;
        assert_eq!(soon("the held one", held).await.unwrap().unwrap().1, b'B');
        proxy.stop().await;
    });
}

#[test]
fn a_new_proxy_starts_beside_the_old_one_and_no_connection_is_refused() {
    Namespace::new("beside").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let mut config = TestCluster::new().config(1, HERE, directory.path());
        let mut old = TestProxy::start(config.clone()).await;
        let _container = Container::start(FIRST, inside(80), b'A').await;
        old.apply(route("web", 1, 80, serving(1, HERE, FIRST)))
            .await;
        config.tunnel_listen = SocketAddr::from((HERE, 4_527));
        let mut new = TestProxy::start(config).await;
        new.apply(route("web", 1, 80, serving(1, HERE, FIRST)))
            .await;
        old.stop().await;
        for _ in 0..20 {
            assert_eq!(ask((HERE, 80)).await.unwrap().1, b'A');
        }
    });
}
