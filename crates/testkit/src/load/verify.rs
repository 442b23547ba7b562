//! Compares what a database acknowledged with what is there.
//!
//! Called by the readers of each database. Pure.

use super::writers::WritersReport;
use std::collections::BTreeMap;
use std::fmt;

/// Most single findings that a verification lists.
const FINDINGS_MAX: usize = 20;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// An acknowledged row is not there.
    Lost {
        /// Whose.
        client: u32,
        /// Which.
        number: u64,
    },
    /// A row is there more than once.
    Doubled {
        /// Whose.
        client: u32,
        /// Which.
        number: u64,
    },
    /// A row is there that was never written, or with other content.
    Foreign {
        /// Whose it claims to be.
        client: u32,
        /// Which it claims to be.
        number: u64,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, client, number) = match self {
            Self::Lost { client, number } => ("lost", client, number),
            Self::Doubled { client, number } => ("there more than once", client, number),
            Self::Foreign { client, number } => ("not one that was written", client, number),
        };
        write!(f, "row {number} of client {client} is {what}")
    }
}

/// What reading everything back showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Rows that are there.
    pub rows: u64,
    /// Rows that were acknowledged.
    pub acknowledged: u64,
    /// Rows that are there although their acknowledgement was lost: at most one per client.
    pub unacknowledged: u64,
    /// How much is wrong.
    pub damaged: u64,
    /// The first of it.
    pub damage: Vec<Damage>,
}

impl Verification {
    /// Whether every acknowledged row is there, once, and nothing else.
    pub fn is_whole(&self) -> bool {
        self.damaged == 0
    }

    /// Compares. `present` are the rows in any order; one whose content is wrong is left out of it
    /// and its numbers are in `foreign`.
    pub(super) fn of(
        report: &WritersReport,
        present: impl IntoIterator<Item = (u32, u64)>,
        foreign: impl IntoIterator<Item = (u32, u64)>,
    ) -> Self {
        let mut found: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for row in present {
            *found.entry(row).or_default() += 1;
        }
        let mut result = Self {
            rows: found.values().sum(),
            acknowledged: report.acknowledged(),
            unacknowledged: 0,
            damaged: 0,
            damage: Vec::new(),
        };
        for (client, number) in foreign {
            result.note(Damage::Foreign { client, number });
        }
        for client in &report.clients {
            for number in 1..=client.acknowledged {
                if !found.contains_key(&(client.client, number)) {
                    let client = client.client;
                    result.note(Damage::Lost { client, number });
                }
            }
        }
        for ((client, number), count) in found {
            if count > 1 {
                result.note(Damage::Doubled { client, number });
            }
            let writer = report.clients.iter().find(|report| report.client == client);
            match writer {
                Some(writer) if (1..=writer.acknowledged).contains(&number) => {}
                Some(writer) if number == writer.acknowledged + 1 => result.unacknowledged += 1,
                _ => result.note(Damage::Foreign { client, number }),
            }
        }
        result
    }

    fn note(&mut self, damage: Damage) {
        self.damaged += 1;
        if self.damage.len() < FINDINGS_MAX {
            self.damage.push(damage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::ClientReport;
    use std::time::Duration;

    fn report(acknowledged: &[u64]) -> WritersReport {
        let clients = (1..)
            .zip(acknowledged)
            .map(|(client, acknowledged)| ClientReport {
                client,
                acknowledged: *acknowledged,
                longest_wait: Duration::ZERO,
                reconnects: 0,
                failure: None,
            });
        WritersReport {
            clients: clients.collect(),
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn what_was_acknowledged_is_there_and_one_more_per_client_may_be() {
        let all = [(1, 1), (1, 2), (2, 1), (2, 2)];
        let seen = Verification::of(&report(&[2, 1]), all, []);
        assert!(seen.is_whole());
        assert_eq!(
            (seen.rows, seen.acknowledged, seen.unacknowledged),
            (4, 3, 1)
        );
    }

    #[test]
    fn every_kind_of_damage_is_found() {
        let seen =
            |rows: &[(u32, u64)]| Verification::of(&report(&[2]), rows.iter().copied(), []).damage;
        let (client, number) = (1, 2);
        assert_eq!(seen(&[(1, 1)]), [Damage::Lost { client, number }]);
        assert_eq!(
            seen(&[(1, 1), (1, 2), (1, 2)]),
            [Damage::Doubled { client, number }]
        );
        let number = 4;
        assert_eq!(
            seen(&[(1, 1), (1, 2), (1, 4)]),
            [Damage::Foreign { client, number }]
        );
        let (client, number) = (7, 1);
        assert_eq!(
            seen(&[(1, 1), (1, 2), (7, 1)]),
            [Damage::Foreign { client, number }]
        );
        let wrong = Verification::of(&report(&[1]), [(1, 1)], [(1, 2)]);
        assert!(!wrong.is_whole());
    }
}
