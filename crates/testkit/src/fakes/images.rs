//! Images of the fake runtime, and the stream in which one goes to another fake.

use flocker_runtime::ImageInfo;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a fake engine or a fake registry has: images by reference.
#[derive(Debug, Default)]
pub(super) struct Images {
    by_reference: BTreeMap<String, ImageInfo>,
}

/// One image as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Packed {
    references: Vec<String>,
    id: String,
    exposed_ports: Vec<u16>,
}

impl Images {
    pub(super) fn add(&mut self, reference: &str, image: ImageInfo) {
        self.by_reference.insert(reference.to_owned(), image);
    }

    /// By reference or id.
    pub(super) fn find(&self, image: &str) -> Option<&ImageInfo> {
        let by_id = || self.by_reference.values().find(|one| one.id == image);
        self.by_reference.get(image).or_else(by_id)
    }

    pub(super) fn pack(&self, image: &str) -> Option<Packed> {
        let found = self.find(image)?;
        let references = self
            .by_reference
            .iter()
            .filter(|(_, one)| one.id == found.id)
            .map(|(reference, _)| reference.clone())
            .collect();
        Some(Packed {
            references,
            id: found.id.clone(),
            exposed_ports: found.exposed_ports.clone(),
        })
    }

    pub(super) fn unpack(&mut self, packed: Packed) {
        for reference in packed.references {
            let image = ImageInfo {
                id: packed.id.clone(),
                exposed_ports: packed.exposed_ports.clone(),
            };
            self.by_reference.insert(reference, image);
        }
    }
}
