//! YAML as a tree in which everything knows its place.
//!
//! [`load`] makes the tree from a file's text, with limits; the readers of the manifest formats
//! walk it. What a scalar means is decided where it is read, because v1 files (YAML 1.1) and
//! Compose files (YAML 1.2) disagree about words such as `yes`.

mod build;
pub(crate) mod scalar;

use crate::source::Span;
use std::sync::Arc;

pub(crate) use build::{load, refuse_joins, size};
pub(crate) use scalar::Meaning;

/// One value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Where it is written.
    pub(crate) span: Span,
    /// What it is.
    pub(crate) data: Data,
    /// How it joins what an earlier file says at the same place.
    pub(crate) join: Join,
}

/// How a value joins an earlier one (Compose's tags).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Join {
    /// By the rules of its place.
    #[default]
    Merge,
    /// `!override`: it replaces the earlier one.
    Override,
    /// `!reset`: it takes the earlier one away.
    Reset,
}

/// The kinds of value.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with values, in the order of the file; no key twice.
    Mapping(Vec<Entry>),
}

/// A single value, not interpreted yet.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    /// Its text, quotes and escapes removed.
    pub(crate) text: Arc<str>,
    /// Whether its text could mean something else than itself.
    pub(crate) form: Form,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Without quotes: may be a number, a truth value, nothing, or text.
    Plain,
    /// In quotes, as a block, or tagged `!!str`: text.
    Text,
    /// Without quotes, with variables put in: a number or truth value where one is expected, else
    /// text; never nothing.
    Completed,
    /// Unreadable, and an error says why: nobody has to say more about it.
    Failed,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The key's text.
    pub(crate) key: Arc<str>,
    /// Where the key is written.
    pub(crate) key_span: Span,
    /// The value.
    pub(crate) value: Node,
}

impl Node {
    /// A value at a place, nothing special about it.
    pub(crate) fn new(span: Span, data: Data) -> Self {
        Self {
            span,
            data,
            join: Join::Merge,
        }
    }

    /// A text at a place.
    pub(crate) fn text(span: Span, text: impl Into<Arc<str>>) -> Self {
        let (text, form) = (text.into(), Form::Text);
        Self::new(span, Data::Scalar(Scalar { text, form }))
    }

    /// The entries of a mapping.
    pub(crate) fn as_mapping(&self) -> Option<&[Entry]> {
        match &self.data {
            Data::Mapping(entries) => Some(entries),
            Data::Scalar(_) | Data::Sequence(_) => None,
        }
    }

    /// The value under a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of a key of a mapping.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.as_mapping()?.iter().find(|entry| &*entry.key == key)
    }

    /// The scalar, if it is one.
    pub(crate) fn as_scalar(&self) -> Option<&Scalar> {
        match &self.data {
            Data::Scalar(scalar) => Some(scalar),
            Data::Sequence(_) | Data::Mapping(_) => None,
        }
    }

    /// True for an empty value, `~` and `null`.
    pub(crate) fn is_null(&self) -> bool {
        self.as_scalar()
            .is_some_and(|scalar| matches!(scalar.meaning(), Meaning::Null))
    }

    /// True when an error about this value was reported already.
    pub(crate) fn is_failed(&self) -> bool {
        self.as_scalar()
            .is_some_and(|scalar| scalar.form == Form::Failed)
    }

    /// What the value is, in words, for messages: "a list", "the number 5" ...
    pub(crate) fn describe(&self) -> String {
        match &self.data {
            Data::Scalar(scalar) => scalar.describe(),
            Data::Sequence(_) => "a list".to_owned(),
            Data::Mapping(_) => "a mapping".to_owned(),
        }
    }
}
