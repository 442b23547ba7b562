//! Collects the diagnostics of the files that are read together, so that a reader is told everything at once.
//!
//! Used by every reader of this crate; never decides what is wrong.

use crate::diagnostic::{self, Diagnostic, Severity};
use crate::source::{FileId, Lines, Location, Source, Span};
use crate::yaml::Node;
use std::sync::Arc;

/// Most diagnostics that are kept for one file with its warnings, and twice as many errors; more
/// do not help anybody.
const DIAGNOSTICS_MAX: usize = 200;

/// The diagnostics of the files that are read together so far.
pub(crate) struct Report {
    files: Vec<Lines>,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Nothing said yet, no file known.
    pub(crate) fn new() -> Self {
        Self {
            files: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    /// Another file, so that places in it can be shown.
    pub(crate) fn add_file(&mut self, source: &Source) -> FileId {
        self.files.push(Lines::of(source));
        FileId(self.files.len() - 1)
    }

    /// A place, to be kept for checks that need several files.
    pub(crate) fn locate(&self, span: Span) -> Location {
        self.lines(span.file).locate(span)
    }

    /// The lines of a file.
    pub(crate) fn lines(&self, file: FileId) -> &Lines {
        &self.files[file.0]
    }

    /// Something makes the file unusable; `hint` says what to write instead.
    pub(crate) fn error(
        &mut self,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Error, span, message.into(), hint.into());
    }

    /// A value is not what it must be; says nothing about a value that was reported already.
    pub(crate) fn mismatch(&mut self, node: &Node, message: impl Into<String>, hint: &str) {
        if !node.is_failed() {
            self.error(node.span, message, hint);
        }
    }

    /// Something is probably not meant.
    pub(crate) fn warning(
        &mut self,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Warning, span, message.into(), hint.into());
    }

    /// The same for a place that was kept.
    pub(crate) fn warning_at(&mut self, at: &Location, message: String, hint: &str) {
        if self.diagnostics.len() < DIAGNOSTICS_MAX {
            let warning = Diagnostic::new(Severity::Warning, at, message).with_hint(hint);
            self.diagnostics.push(warning);
        }
    }

    fn add(&mut self, severity: Severity, span: Span, message: String, hint: String) {
        if self.diagnostics.len() >= DIAGNOSTICS_MAX && severity == Severity::Warning {
            return;
        }
        if self.is_full() {
            return;
        }
        let at = self.locate(span);
        self.diagnostics
            .push(Diagnostic::new(severity, &at, message).with_hint(hint));
    }

    /// Takes over diagnostics that were made elsewhere.
    pub(crate) fn extend(&mut self, diagnostics: Vec<Diagnostic>) {
        let room = (2 * DIAGNOSTICS_MAX).saturating_sub(self.diagnostics.len());
        self.diagnostics.extend(diagnostics.into_iter().take(room));
    }

    /// True when nothing more will be kept.
    pub(crate) fn is_full(&self) -> bool {
        self.diagnostics.len() >= 2 * DIAGNOSTICS_MAX
    }

    /// True when an error was reported.
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Everything that was said, in order of position.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics;
        let files: Vec<Arc<str>> = self
            .files
            .iter()
            .map(|lines| Arc::clone(lines.file()))
            .collect();
        diagnostic::sort(&mut diagnostics, &files);
        diagnostics
    }
}
