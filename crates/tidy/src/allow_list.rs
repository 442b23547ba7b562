//! `tidy-allow.txt`: the few exceptions, each with its reason. The source rules ask it.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// The exceptions, and which of them were asked for.
#[derive(Debug)]
pub(crate) struct AllowList {
    entries: BTreeSet<(String, String)>,
    used: RefCell<BTreeSet<(String, String)>>,
}

impl AllowList {
    /// Reads `RULE PATH REASON` lines.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut entries = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.splitn(3, ' ');
            let (Some(rule), Some(path), Some(reason)) = (words.next(), words.next(), words.next())
            else {
                return Err(format!("line {}: want RULE PATH REASON", index + 1));
            };
            if reason.trim().len() < 10 {
                return Err(format!("line {}: the reason says nothing", index + 1));
            }
            entries.insert((rule.to_owned(), path.to_owned()));
        }
        Ok(Self {
            entries,
            used: RefCell::default(),
        })
    }

    /// Whether a file is excepted from a rule. Only ask when it breaks the rule.
    pub(crate) fn excepts(&self, rule: &str, path: &str) -> bool {
        let key = (rule.to_owned(), path.to_owned());
        let found = self.entries.contains(&key);
        if found {
            self.used.borrow_mut().insert(key);
        }
        found
    }

    /// Entries that no rule has needed.
    pub(crate) fn unused(&self) -> Vec<String> {
        self.entries
            .difference(&self.used.borrow())
            .map(|(rule, path)| format!("tidy-allow.txt: {rule} {path} is not needed any more"))
            .collect()
    }
}

#[test]
fn an_entry_needs_a_reason_and_a_use() {
    assert!(AllowList::parse("long-file a.rs").is_err());
    assert!(AllowList::parse("long-file a.rs because").is_err());
    let list = AllowList::parse("# x\n\nlong-file a.rs a table that is read as one\n").unwrap();
    assert_eq!(list.unused().len(), 1);
    assert!(!list.excepts("long-file", "b.rs"));
    assert!(!list.excepts("thread-sleep", "a.rs"));
    assert!(list.excepts("long-file", "a.rs"));
    assert_eq!(list.unused(), [""; 0]);
}
