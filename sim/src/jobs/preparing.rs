//! Preparing a service on a node: room, its image from wherever it is, and its container where its
//! volumes are here already.

use super::{CHANGE_US_MAX, Running, Stage, Step, failed, wish};
use crate::engine::Call;
use crate::network::Host;
use crate::pool::{passing, pointless};
use crate::world::World;
use flocker_core::agent::{Job, JobOutcome};
use flocker_types::ids::NodeId;
use flocker_types::task::{ContainerSpec, Peer, Prepared};
use std::net::Ipv4Addr;

impl World {
    pub(super) fn prepare_step(&mut self, id: NodeId, running: &mut Running) -> Step {
        let Job::Prepare {
            service,
            container,
            incoming,
            image_peers,
            ..
        } = running.work.clone()
        else {
            return failed(pointless("not a preparation"));
        };
        let node = self.node_mut(id);
        match running.stage {
            Stage::Begin => {
                let needed: u64 = incoming
                    .iter()
                    .map(|volume| volume.size_bytes_estimate)
                    .sum();
                if needed > 0 && node.pool.usage().free_bytes < needed {
                    return failed(pointless("the pool has no room for what is to be received"));
                }
                running.stage = Stage::Image;
                Step::Wait(500)
            }
            Stage::Image if !node.engine.up => {
                failed(passing("the container engine does not answer"))
            }
            Stage::Image if node.engine.images.contains(&image_of(&container)) => {
                running.stage = Stage::Create;
                Step::Wait(500)
            }
            Stage::Image => {
                running.stage = Stage::Fetch;
                Step::Wait(node.rng.between(50_000, 1_500_000))
            }
            Stage::Fetch => self.fetch(id, running, &container, &image_peers),
            Stage::Create => {
                if node.engine.runs(&service) || !incoming.is_empty() {
                    return Step::Done(Ok(JobOutcome::Prepared(prepared(&running.work))));
                }
                match self.request(id, &running.work) {
                    Err(failure) => failed(failure),
                    Ok((service, request)) => {
                        let takes = self.node_mut(id).rng.between(10_000, 120_000);
                        let call = Call::Create(service, Box::new(request));
                        self.call(id, running, call, takes, CHANGE_US_MAX)
                    }
                }
            }
            _ => failed(pointless("a preparation has no such stage")),
        }
    }

    /// The image from its registry, or from another node.
    fn fetch(
        &mut self,
        id: NodeId,
        running: &mut Running,
        container: &ContainerSpec,
        peers: &[Peer],
    ) -> Step {
        let image = image_of(container);
        let has = |peer: &&Peer| {
            let other = self.nodes.get(&peer.node);
            let cut = self
                .network
                .is_cut_either_way(Host::Node(id), Host::Node(peer.node));
            other.is_some_and(|other| {
                other.agent.core.is_some()
                    && !other.agent.pause.stands()
                    && other.engine.up
                    && other.engine.images.contains(&image)
                    && !cut
            })
        };
        let found = self.registry_down == 0 || peers.iter().any(|peer| has(&peer));
        let node = self.node_mut(id);
        if !node.engine.up {
            return failed(passing("the container engine does not answer"));
        }
        if !found {
            return failed(pointless(format!(
                "the image {image} is neither here nor anywhere that can be reached"
            )));
        }
        node.engine.images.insert(image);
        running.stage = Stage::Create;
        Step::Wait(node.rng.between(50_000, 2_000_000))
    }
}

/// What a job does, for the story.
pub(super) fn name_of(work: &Job) -> &'static str {
    match work {
        Job::CreateVolume { .. } => "making a volume",
        Job::Prepare { .. } => "a preparation",
        Job::Run { .. } => "a start",
        Job::Stop { .. } => "a stop",
        Job::RemoveContainer { .. } => "a removal",
        Job::Copy { .. } => "a copy",
        Job::Demote { .. } => "a demotion",
        Job::Prune { .. } => "pruning",
        Job::Destroy { .. } => "a deletion",
    }
}

/// What a container was made from.
pub(super) fn prepared(work: &Job) -> Prepared {
    let wish = wish(work).ok();
    Prepared {
        image_id: wish.map_or_else(String::new, |(_, container, ..)| image_of(container)),
        exposed_ports: vec![5432],
        address: wish.map_or(Ipv4Addr::UNSPECIFIED, |(_, _, address, _)| address),
    }
}

/// An image's id is made from its name: a name always means the same image here.
pub(super) fn image_of(container: &ContainerSpec) -> String {
    let named = || format!("sha256:{}", container.spec.image);
    container.image_id.clone().unwrap_or_else(named)
}
