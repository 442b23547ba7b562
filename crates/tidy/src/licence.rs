//! Licence expressions (SPDX): whether one of the ways to comply with them needs only licences
//! that we accept. The dependency rules call it.

/// Licences whose code may be linked in: permissive ones, none that reaches to our own code.
/// `deny.toml` has the same list; a test compares them.
pub(crate) const ACCEPTED: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether the expression can be complied with by accepted licences alone. What cannot be read
/// is not accepted.
pub(crate) fn is_accepted(expression: &str) -> bool {
    // Before SPDX a slash meant "or".
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words };
    let accepted = reader.any();
    accepted == Some(true) && reader.words.is_empty()
}

struct Reader<'a> {
    words: &'a [&'a str],
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    fn any(&mut self) -> Option<bool> {
        let mut accepted = self.all()?;
        while self.take("OR") {
            accepted |= self.all()?;
        }
        Some(accepted)
    }

    fn all(&mut self) -> Option<bool> {
        let mut accepted = self.one()?;
        while self.take("AND") {
            accepted &= self.one()?;
        }
        Some(accepted)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let accepted = self.any()?;
            return self.take(")").then_some(accepted);
        }
        let (name, rest) = self.words.split_first()?;
        self.words = rest;
        if !self.take("WITH") {
            return Some(ACCEPTED.contains(name));
        }
        let (exception, rest) = self.words.split_first()?;
        self.words = rest;
        Some(ACCEPTED.contains(&format!("{name} WITH {exception}").as_str()))
    }
}

#[test]
fn licences_are_judged() {
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0-or-later OR MIT",
        "(Apache-2.0 OR MIT) AND BSD-3-Clause",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        "(MIT AND (ISC OR AGPL-3.0)) OR AGPL-3.0",
    ] {
        assert!(is_accepted(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0-or-later",
        "AGPL-3.0",
        "MIT AND GPL-2.0",
        "MIT AND (ISC AND AGPL-3.0)",
        "GPL-2.0 WITH Classpath-exception-2.0",
        "(MIT",
        "MIT MIT",
        "BUSL-1.1",
        "MPL-2.0",
    ] {
        assert!(!is_accepted(bad), "{bad}");
    }
}
