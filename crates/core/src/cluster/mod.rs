//! The cluster's state: what is durable, as records that the store keeps one by one.
//!
//! The control core changes it and nobody else does; the planner reads it. Nothing in here decides.

mod network;
mod records;
pub(crate) mod usage;

pub use network::{Network, NetworkFull, ParseNetworkError};
pub use records::{
    Change, CopyRecord, Key, Learned, MetaRecord, NodeRecord, OperationRecord, Record,
    ServiceRecord, TokenRecord, VolumeRecord, record_from_json,
};

use crate::mutant::{Mutant, planted};
use flocker_types::access::{Revocation, Revoked, UserRecord};
use flocker_types::app::ServiceSpec;
use flocker_types::ids::{
    ApplicationName, Generation, NodeId, OperationId, ServiceId, VolumeId, VolumeName,
};
use std::collections::{BTreeMap, BTreeSet};

/// Everything durable, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The cluster itself.
    pub meta: MetaRecord,
    /// Its nodes.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    /// Its services.
    pub services: BTreeMap<ServiceId, ServiceRecord>,
    /// Its volumes.
    pub volumes: BTreeMap<VolumeId, VolumeRecord>,
    /// Operations that go on, and the latest that ended.
    pub operations: BTreeMap<OperationId, OperationRecord>,
    /// Tokens with which nodes may join.
    pub tokens: BTreeMap<String, TokenRecord>,
    /// Users that were let in since the cluster keeps a record of them.
    pub users: BTreeMap<String, UserRecord>,
    /// Certificates that are worth nothing.
    pub revocations: BTreeMap<Revoked, Revocation>,
    dirty: BTreeSet<Key>,
}

impl State {
    /// A cluster with nothing in it.
    pub fn new(meta: MetaRecord) -> Self {
        Self {
            meta,
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
            volumes: BTreeMap::new(),
            operations: BTreeMap::new(),
            tokens: BTreeMap::new(),
            users: BTreeMap::new(),
            revocations: BTreeMap::new(),
            dirty: BTreeSet::from([Key::Meta]),
        }
    }

    /// The state that these records were written from; none when there is no cluster among them.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Option<Self> {
        let mut meta = None;
        let mut rest = Vec::new();
        for record in records {
            match record {
                Record::Meta(record) => meta = Some(record),
                record => rest.push(record),
            }
        }
        let mut state = Self::new(meta?);
        for record in rest {
            match record {
                Record::Meta(_) => {}
                Record::Node(r) => drop(state.nodes.insert(r.id, r)),
                Record::Service(r) => drop(state.services.insert(r.id.clone(), *r)),
                Record::Volume(r) => drop(state.volumes.insert(r.id, r)),
                Record::Operation(r) => drop(state.operations.insert(r.operation.id, *r)),
                Record::Token(r) => drop(state.tokens.insert(r.id.clone(), r)),
                Record::User(r) => drop(state.users.insert(r.name.clone(), r)),
                Record::Revocation(r) => drop(state.revocations.insert(r.whom.clone(), r)),
            }
        }
        state.dirty.clear();
        Some(state)
    }

    /// Every record.
    pub fn records(&self) -> Vec<Record> {
        let nodes = self.nodes.values().cloned().map(Record::Node);
        let services = self.services.values().cloned().map(Box::new);
        let volumes = self.volumes.values().cloned().map(Record::Volume);
        let operations = self.operations.values().cloned().map(Box::new);
        let tokens = self.tokens.values().cloned().map(Record::Token);
        let users = self.users.values().cloned().map(Record::User);
        let revocations = self.revocations.values().cloned().map(Record::Revocation);
        std::iter::once(Record::Meta(self.meta.clone()))
            .chain(nodes)
            .chain(services.map(Record::Service))
            .chain(volumes)
            .chain(operations.map(Record::Operation))
            .chain(tokens)
            .chain(users)
            .chain(revocations)
            .collect()
    }

    /// The changes since the last call, to be written in one transaction.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.dirty)
            .into_iter()
            .map(|key| self.change(key))
            .collect()
    }

    fn change(&self, key: Key) -> Change {
        let record = match &key {
            Key::Meta => Some(Record::Meta(self.meta.clone())),
            Key::Node(id) => self.nodes.get(id).cloned().map(Record::Node),
            Key::Service(id) => self
                .services
                .get(id)
                .cloned()
                .map(|r| Record::Service(Box::new(r))),
            Key::Volume(id) => self.volumes.get(id).cloned().map(Record::Volume),
            Key::Operation(id) => self
                .operations
                .get(id)
                .cloned()
                .map(|r| Record::Operation(Box::new(r))),
            Key::Token(id) => self.tokens.get(id).cloned().map(Record::Token),
            Key::User(name) => self.users.get(name).cloned().map(Record::User),
            Key::Revocation(whom) => self.revocations.get(whom).cloned().map(Record::Revocation),
        };
        match record {
            Some(record) => Change::Put(record),
            None => Change::Delete(key),
        }
    }

    /// Says that a record was changed, or removed, and must be written.
    pub fn touch(&mut self, key: Key) {
        self.dirty.insert(key);
    }

    /// The next generation of the whole cluster.
    pub fn next_generation(&mut self) -> Generation {
        self.meta.generation = self.meta.generation.next();
        if !planted(Mutant::GenerationNotKept) {
            self.touch(Key::Meta);
        }
        self.meta.generation
    }

    /// A service, to be changed.
    pub fn service_mut(&mut self, id: &ServiceId) -> Option<&mut ServiceRecord> {
        self.touch(Key::Service(id.clone()));
        self.services.get_mut(id)
    }

    /// A volume, to be changed.
    pub fn volume_mut(&mut self, id: VolumeId) -> Option<&mut VolumeRecord> {
        self.touch(Key::Volume(id));
        self.volumes.get_mut(&id)
    }

    /// An operation, to be changed.
    pub fn operation_mut(&mut self, id: OperationId) -> Option<&mut OperationRecord> {
        self.touch(Key::Operation(id));
        self.operations.get_mut(&id)
    }

    /// A volume by its name; one that is to be deleted has lost its name.
    pub fn volume_named(
        &self,
        application: &ApplicationName,
        name: &VolumeName,
    ) -> Option<&VolumeRecord> {
        self.volumes
            .values()
            .find(|v| v.application == *application && v.name == *name && v.destroy_after.is_none())
    }

    /// A node as a person may name it: by name, address or id.
    pub fn node_called(&self, text: &str) -> Option<&NodeRecord> {
        self.nodes.values().find(|node| {
            node.name.as_str() == text
                || node.address.to_string() == text
                || node.id.to_string() == text
        })
    }

    /// Who publishes this port, if somebody does.
    pub fn publisher_of(&self, external: u16) -> Option<&ServiceRecord> {
        self.services.values().find(|service| {
            service.is_placed()
                && service
                    .spec
                    .ports
                    .iter()
                    .any(|port| port.external == external)
        })
    }

    /// The service that has this volume mounted, or will when its operation has succeeded.
    pub fn user_of(&self, volume: VolumeId) -> Option<&ServiceRecord> {
        let will = |service: &&ServiceRecord| {
            let record = service.operation.and_then(|id| self.operations.get(&id));
            record.is_some_and(|r| r.operation.volumes.iter().any(|v| v.id == volume))
        };
        self.services.values().find(will).or_else(|| {
            let mut all = self.services.values();
            all.find(|service| service.volumes.contains(&volume))
        })
    }

    /// The volumes of a description that exist, in the order of its mounts.
    pub fn existing_volumes(
        &self,
        application: &ApplicationName,
        spec: &ServiceSpec,
    ) -> Vec<Option<&VolumeRecord>> {
        spec.mounts
            .iter()
            .map(|mount| self.volume_named(application, &mount.volume))
            .collect()
    }
}
