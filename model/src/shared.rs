//! Values that many states share, each made once and known by its print.
//!
//! A core is stepped in one of thousands of states that differ elsewhere; what it becomes is the same
//! in all of them. So a state consists of shared parts, and is compared and hashed by their prints.

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// 128 bits over the whole value, so that two values of one print are the same for every purpose.
pub(crate) type Print = (u64, u64);

/// A value with its print.
pub(crate) struct Shared<T>(Rc<(Print, T)>);

impl<T: Debug> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Rc::new((print(&value), value)))
    }
}

impl<T> Shared<T> {
    pub(crate) fn print(&self) -> Print {
        self.0.0
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.print() == other.print()
    }
}

impl<T> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print().hash(state);
    }
}

impl<T: Debug> Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deref().fmt(f)
    }
}

/// The print of what a value shows of itself. Everything in the cores derives `Debug`, so that nothing
/// is left out; what hides itself on purpose (secrets) is in no scenario.
pub(crate) fn print(value: &impl Debug) -> Print {
    let mut digest = Digest::new();
    write!(digest, "{value:?}").expect("a digest takes every text");
    (digest.one.finish(), digest.other.finish())
}

/// Two hashes with different beginnings; both the same on every run.
struct Digest {
    one: DefaultHasher,
    other: DefaultHasher,
}

impl Digest {
    fn new() -> Self {
        let (one, mut other) = (DefaultHasher::new(), DefaultHasher::new());
        other.write_u64(0x9e37_79b9_7f4a_7c15);
        Self { one, other }
    }
}

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.one.write(text.as_bytes());
        self.other.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_equal_prints_and_others_have_not() {
        assert_eq!(Shared::new(vec![1, 2]), Shared::new(vec![1, 2]));
        assert!(Shared::new(vec![1, 2]) != Shared::new(vec![12]));
    }
}
