//! A proxy's process: its loop as `crates/net/src/proxy/event_loop.rs` has it, round the real route
//! table. It saves its routes beside its work, so that a crash may bring back older ones.

use crate::event::{Life, What};
use crate::network::{Direction, LinkId, LinkKind, Wire};
use crate::world::{Pause, Process, World};
use flocker_core::route::{Effect, RouteTable};
use flocker_types::ids::{NodeId, ServiceId};
use flocker_types::link::{ProxyMessage, ToProxy};
use flocker_types::route::{Route, RouteState};
use std::collections::BTreeMap;

/// A node's proxy.
#[derive(Debug, Default)]
pub(crate) struct ProxyProcess {
    pub(crate) table: Option<RouteTable>,
    pub(crate) life: Life,
    pub(crate) pause: Pause,
    pub(crate) held_down: u32,
    pub(crate) link: Option<LinkId>,
    /// Visits that wait for the end of a hold.
    pub(crate) held: BTreeMap<ServiceId, Vec<u64>>,
    /// On the disk.
    saved: Vec<Route>,
    saving: Option<(Life, Vec<Route>)>,
    saves: Life,
}

impl World {
    /// A proxy's process starts, with the routes that it saved.
    pub(crate) fn start_proxy_process(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if !node.powered || node.proxy.table.is_some() || node.proxy.held_down > 0 {
            return;
        }
        let mut table = RouteTable::new(id);
        drop(table.replace_all(node.proxy.saved.clone()));
        node.proxy.table = Some(table);
        node.proxy.life += 1;
        let life = node.proxy.life;
        node.proxy.held.clear();
        node.proxy.link = None;
        self.after(500, What::Connect(id, LinkKind::Proxy, life));
    }

    /// A proxy's process dies, and with it the connections of its clients.
    pub(crate) fn end_proxy_process(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if node.proxy.table.take().is_none() {
            return;
        }
        let life = node.proxy.life;
        node.proxy.life += 1;
        node.proxy.held.clear();
        node.proxy.saving = None;
        let powered = node.powered;
        self.resume_at_once(Process::Proxy(id));
        if powered {
            self.drop_links_of(id, LinkKind::Proxy, life);
        } else {
            self.abandon_links_of(id, LinkKind::Proxy, life);
        }
        self.note_blocked();
        self.checks.proxy_died(id);
    }

    pub(crate) fn proxy_linked(&mut self, id: NodeId, link: LinkId) {
        self.proxy_links.insert(link);
        let node = self.node_mut(id);
        node.proxy.link = Some(link);
        let hello = ProxyMessage::Hello {
            cluster: node.cluster,
            node: id,
            version: "sim".to_owned(),
            tunnel: (node.address, crate::node::TUNNEL_PORT).into(),
        };
        self.send(link, Direction::Up, Wire::Proxy(hello));
    }

    pub(crate) fn proxy_unlinked(&mut self, id: NodeId, link: LinkId) {
        let proxy = &mut self.node_mut(id).proxy;
        if proxy.link == Some(link) {
            proxy.link = None;
        }
    }

    /// Control said something.
    pub(crate) fn proxy_hears(&mut self, id: NodeId, link: LinkId, wire: Wire) {
        let Wire::ToProxy(message) = wire else {
            return self.close_client_end(link);
        };
        let Some(mut table) = self.node_mut(id).proxy.table.take() else {
            return;
        };
        let (effects, answers) = match message {
            ToProxy::Welcome { routes } => {
                let effects = table.replace_all(routes);
                let all = table.routes().map(|route| route.service.clone()).collect();
                (effects, all)
            }
            ToProxy::Route(route) => {
                let service = route.service.clone();
                (table.apply(route).effects, vec![service])
            }
            ToProxy::Gone {
                service,
                generation,
            } => (table.gone(&service, generation).effects, Vec::new()),
            ToProxy::Access(_) | ToProxy::Heartbeat => (Vec::new(), Vec::new()),
        };
        self.checks.routes_are(self.now_us, id, &table);
        self.node_mut(id).proxy.table = Some(table);
        let changed = !effects.is_empty();
        if changed {
            self.may_echo(id);
        }
        for effect in effects {
            if let Effect::WakeHeld(service) = effect {
                self.wake_held(id, &service);
            }
        }
        let rebel = self.rebellious_proxies;
        for service in answers {
            if !rebel {
                self.answer_route(id, link, &service);
            }
        }
        if changed {
            self.save_routes(id);
        }
    }

    fn answer_route(&mut self, id: NodeId, link: LinkId, service: &ServiceId) {
        let proxy = &self.nodes[&id].proxy;
        let Some(table) = &proxy.table else { return };
        let Some(route) = table.route(service) else {
            return;
        };
        let (service, generation) = (service.clone(), route.generation);
        let problems = table.problems(&service);
        let message = if problems.is_empty() {
            let held = proxy.held.get(&service).map_or(0, Vec::len);
            ProxyMessage::Applied {
                service,
                generation,
                held: u32::try_from(held).unwrap_or(u32::MAX),
            }
        } else {
            ProxyMessage::Problem {
                service,
                generation,
                message: format!("{problems:?}"),
            }
        };
        self.send(link, Direction::Up, Wire::Proxy(message));
    }

    /// Connections that waited decide again.
    fn wake_held(&mut self, id: NodeId, service: &ServiceId) {
        let now = self.now_us;
        let proxy = &mut self.node_mut(id).proxy;
        let holds = proxy
            .table
            .as_ref()
            .and_then(|table| table.route(service))
            .is_some_and(|route| matches!(route.state, RouteState::Held { .. }));
        if holds {
            return;
        }
        let woken = proxy.held.remove(service).unwrap_or_default();
        let link = proxy.link;
        if woken.is_empty() {
            return;
        }
        let mut longest_us = 0;
        for visit in &woken {
            longest_us = longest_us.max(self.visit_waited_us(*visit));
            self.queue.push(now, What::Visit(*visit));
        }
        if let Some(link) = link {
            let waited = ProxyMessage::Waited {
                service: service.clone(),
                connections: u32::try_from(woken.len()).unwrap_or(u32::MAX),
                longest_ms: longest_us / 1_000,
            };
            self.send(link, Direction::Up, Wire::Proxy(waited));
        }
    }

    fn save_routes(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let Some(table) = &node.proxy.table else {
            return;
        };
        let routes = table.routes().map(|route| Route::clone(route)).collect();
        node.proxy.saves += 1;
        let (life, save) = (node.proxy.life, node.proxy.saves);
        node.proxy.saving = Some((save, routes));
        let wait = node.disk_us(2_000, 40_000);
        self.after(wait, What::ProxySaved(id, life, save));
    }

    /// The routes of this save are on the disk, unless a newer one overtook it.
    pub(crate) fn proxy_saved(&mut self, id: NodeId, life: Life, save: Life) {
        let proxy = &mut self.node_mut(id).proxy;
        if proxy.life == life
            && proxy.saving.as_ref().is_some_and(|(of, _)| *of == save)
            && let Some((_, routes)) = proxy.saving.take()
        {
            proxy.saved = routes;
        }
    }
}
