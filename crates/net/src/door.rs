//! How many may stand at a listener's door: connections that have not yet proved who they are, in all
//! and from one address, and connections of one member.
//!
//! Every listener of ours that speaks TLS has one: control's API, the agents' streams, the proxies'
//! tunnels. Without it, silent connections could keep out who is let in. Who comes to a full door is let in
//! to say who it is, and somebody else has to go: the one who has stood longest of those whose address
//! has most standing there. A member needs milliseconds; a crowd that says nothing pushes out its own.
//! It knows no network and no certificates: its owner says when somebody came, and who it turned out to be.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

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
    /// By address, who has stood longest first.
    unproved: HashMap<IpAddr, VecDeque<Standing>>,
    unproved_count: usize,
    /// How many have come so far.
    arrivals: u64,
    members: HashMap<Member, usize>,
}

/// One connection at the door.
#[derive(Debug)]
struct Standing {
    number: u64,
    pushed_out: Arc<Notify>,
}

impl<Member> Inside<Member> {
    fn stand(&mut self, address: IpAddr) -> (u64, Arc<Notify>) {
        let (number, pushed_out) = (self.arrivals, Arc::new(Notify::new()));
        self.arrivals += 1;
        self.unproved_count += 1;
        let here = self.unproved.entry(address).or_default();
        here.push_back(Standing {
            number,
            pushed_out: Arc::clone(&pushed_out),
        });
        (number, pushed_out)
    }

    fn standing_of(&self, address: IpAddr) -> usize {
        self.unproved.get(&address).map_or(0, VecDeque::len)
    }

    /// Pushes out who has stood longest of this address.
    fn push_out(&mut self, address: IpAddr) {
        let longest = self.unproved.get(&address).and_then(VecDeque::front);
        if let Some(standing) = longest {
            standing.pushed_out.notify_one();
            self.go(address, standing.number);
        }
    }

    /// The address with most at the door; of several the one that has somebody there for longest.
    fn most_crowded(&self) -> Option<IpAddr> {
        let rank = |here: &VecDeque<Standing>| {
            let longest = here.front().map_or(u64::MAX, |standing| standing.number);
            (here.len(), u64::MAX - longest)
        };
        let crowds = self.unproved.iter();
        crowds.max_by_key(|(_, here)| rank(here)).map(|(a, _)| *a)
    }

    fn go(&mut self, address: IpAddr, number: u64) {
        let Some(here) = self.unproved.get_mut(&address) else {
            return;
        };
        let Some(index) = here.iter().position(|standing| standing.number == number) else {
            // It was pushed out before.
            return;
        };
        here.remove(index);
        self.unproved_count -= 1;
        if here.is_empty() {
            self.unproved.remove(&address);
        }
    }
}

impl<Member: Clone + Eq + Hash> Door<Member> {
    /// An empty one.
    pub fn new(limits: DoorLimits) -> Self {
        let inside = Inside {
            unproved: HashMap::new(),
            unproved_count: 0,
            arrivals: 0,
            members: HashMap::new(),
        };
        Self {
            limits,
            inside: Arc::new(Mutex::new(inside)),
        }
    }

    /// Somebody has connected. None when there are too many already: close the connection. For doors at
    /// which connections stay, so that whoever is there is not pushed out by who comes later.
    pub fn knock(&self, address: IpAddr) -> Option<Unproved<Member>> {
        let address = address.to_canonical();
        let limits = self.limits;
        let stood = self.with(|inside| {
            let full = inside.unproved_count >= limits.unproved_max
                || inside.standing_of(address) >= limits.unproved_per_address_max;
            (!full).then(|| inside.stand(address))
        });
        stood.map(|stood| self.unproved(address, stood))
    }

    /// Somebody has connected, and is to say who it is. At a full door somebody else has to go for it, and
    /// hears of that by [`Unproved::pushed_out`].
    pub fn receive(&self, address: IpAddr) -> Unproved<Member> {
        let address = address.to_canonical();
        let limits = self.limits;
        let stood = self.with(|inside| {
            if inside.standing_of(address) >= limits.unproved_per_address_max {
                inside.push_out(address);
            } else if inside.unproved_count >= limits.unproved_max
                && let Some(crowded) = inside.most_crowded()
            {
                inside.push_out(crowded);
            }
            inside.stand(address)
        });
        self.unproved(address, stood)
    }

    fn unproved(&self, address: IpAddr, stood: (u64, Arc<Notify>)) -> Unproved<Member> {
        let (number, pushed_out) = stood;
        Unproved {
            door: self.clone(),
            address,
            number,
            pushed_out,
        }
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
    number: u64,
    pushed_out: Arc<Notify>,
}

impl<Member: Clone + Eq + Hash> Unproved<Member> {
    /// Returns when somebody else has taken its place: close the connection.
    pub async fn pushed_out(&self) {
        self.pushed_out.notified().await;
    }

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
        let (address, number) = (self.address, self.number);
        self.door.with(|inside| inside.go(address, number));
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

    fn is_out(visitor: &Unproved<u8>) -> bool {
        let mut out = std::pin::pin!(visitor.pushed_out());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        out.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn who_comes_to_a_full_door_pushes_out_one_of_the_crowd() {
        let door = door();
        let crowd = [door.receive(address(1)), door.receive(address(1))];
        let member = door.receive(address(2));
        assert!(crowd.iter().all(|one| !is_out(one)));
        // Three are there. Of its own address the oldest goes, though there were older ones elsewhere.
        let third = door.receive(address(1));
        assert!(is_out(&crowd[0]) && !is_out(&crowd[1]) && !is_out(&member));
        let other = door.receive(address(3));
        assert!(is_out(&crowd[1]), "the address with most of them gives way");
        assert!(!is_out(&member) && !is_out(&third) && !is_out(&other));
        drop(crowd);
        drop((member, third, other));
        door.with(|inside| assert!(inside.unproved.is_empty() && inside.unproved_count == 0));
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
