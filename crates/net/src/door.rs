//! How many may stand at a listener's door: connections that have not yet proved who they are, in all
//! and from one address, and connections of one member.
//!
//! Every listener of ours that speaks TLS has one: control's API, the agents' streams, the proxies'
//! tunnels. Without it, silent connections could keep out who is let in. It knows no network and no
//! certificates: its owner says when somebody came, and who it turned out to be.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What a door allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorLimits {
    /// Connections that have not proved who they are, at one time.
    pub unproved_max: usize,
    /// Of these, from one address. A handshake takes milliseconds, so that many nodes behind one
    /// address find their way.
    pub unproved_per_address_max: usize,
    /// Connections of one member at one time.
    pub per_member_max: usize,
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            unproved_max: 1_024,
            unproved_per_address_max: 128,
            per_member_max: 256,
        }
    }
}

/// Counts who stands at one listener. Clones are of the same door.
#[derive(Debug, Clone)]
pub struct Door<Member> {
    limits: DoorLimits,
    inside: Arc<Mutex<Inside<Member>>>,
}

#[derive(Debug)]
struct Inside<Member> {
    unproved: HashMap<IpAddr, usize>,
    unproved_count: usize,
    members: HashMap<Member, usize>,
}

impl<Member: Clone + Eq + Hash> Door<Member> {
    /// An empty one.
    pub fn new(limits: DoorLimits) -> Self {
        let inside = Inside {
            unproved: HashMap::new(),
            unproved_count: 0,
            members: HashMap::new(),
        };
        Self {
            limits,
            inside: Arc::new(Mutex::new(inside)),
        }
    }

    /// Somebody has connected. None when there are too many already: close the connection.
    pub fn knock(&self, address: IpAddr) -> Option<Unproved<Member>> {
        let address = address.to_canonical();
        let limits = self.limits;
        self.with(|inside| {
            let here = inside.unproved.get(&address).copied().unwrap_or(0);
            let full = inside.unproved_count >= limits.unproved_max
                || here >= limits.unproved_per_address_max;
            if full {
                return false;
            }
            inside.unproved.insert(address, here + 1);
            inside.unproved_count += 1;
            true
        })
        .then(|| Unproved {
            door: self.clone(),
            address,
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inside<Member>) -> T) -> T {
        // Counting cannot panic halfway.
        act(&mut self.inside.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A connection that has not proved who it is. Leaves when dropped.
#[derive(Debug)]
pub struct Unproved<Member: Clone + Eq + Hash> {
    door: Door<Member>,
    address: IpAddr,
}

impl<Member: Clone + Eq + Hash> Unproved<Member> {
    /// It is this member. None when that one has too many connections already.
    pub fn is(self, member: &Member) -> Option<Inhabitant<Member>> {
        let limit = self.door.limits.per_member_max;
        let member = member.clone();
        self.door
            .with(|inside| {
                let here = inside.members.get(&member).copied().unwrap_or(0);
                let fits = here < limit;
                if fits {
                    inside.members.insert(member.clone(), here + 1);
                }
                fits
            })
            .then(|| Inhabitant {
                door: self.door.clone(),
                member,
            })
    }
}

impl<Member: Clone + Eq + Hash> Drop for Unproved<Member> {
    fn drop(&mut self) {
        let address = self.address;
        self.door.with(|inside| {
            inside.unproved_count -= 1;
            leave(&mut inside.unproved, &address);
        });
    }
}

/// A member's connection. Leaves when dropped.
#[derive(Debug)]
pub struct Inhabitant<Member: Clone + Eq + Hash> {
    door: Door<Member>,
    member: Member,
}

impl<Member: Clone + Eq + Hash> Drop for Inhabitant<Member> {
    fn drop(&mut self) {
        self.door
            .with(|inside| leave(&mut inside.members, &self.member));
    }
}

fn leave<K: Eq + Hash>(counts: &mut HashMap<K, usize>, who: &K) {
    if let Some(count) = counts.get_mut(who) {
        *count -= 1;
        if *count == 0 {
            counts.remove(who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door<u8> {
        Door::new(DoorLimits {
            unproved_max: 3,
            unproved_per_address_max: 2,
            per_member_max: 1,
        })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_address_cannot_keep_out_another() {
        let door = door();
        let first = door.knock(address(1)).unwrap();
        let _second = door.knock(address(1)).unwrap();
        assert!(door.knock(address(1)).is_none());
        assert!(door.knock("::ffff:10.0.0.1".parse().unwrap()).is_none());
        let _third = door.knock(address(2)).unwrap();
        assert!(door.knock(address(3)).is_none(), "three in all");
        drop(first);
        assert!(door.knock(address(1)).is_some());
    }

    #[test]
    fn who_has_proved_who_it_is_makes_room_and_is_counted_as_that() {
        let door = door();
        let inside = door.knock(address(1)).unwrap().is(&7).unwrap();
        assert!(door.knock(address(1)).unwrap().is(&7).is_none());
        assert!(door.knock(address(1)).unwrap().is(&8).is_some());
        drop(inside);
        assert!(door.knock(address(1)).unwrap().is(&7).is_some());
        door.with(|inside| {
            assert_eq!(inside.unproved_count, 0);
            assert!(inside.unproved.is_empty() && inside.members.is_empty());
        });
    }
}
