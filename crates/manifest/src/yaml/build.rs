//! Builds the tree from the YAML parser's events, within limits.
//!
//! It refuses what no manifest needs and what could be used to exhaust memory: a file over 1 MiB,
//! deep nesting, aliases that multiply, several documents, unknown tags. Keys written twice are
//! errors, because YAML would silently drop one of the values.

use super::{Data, Entry, Form, Join, Node, Scalar};
use crate::diagnostic::quoted;
use crate::report::Report;
use crate::source::{FILE_BYTES_MAX, FileId, Span};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Deepest nesting of lists and mappings.
const DEPTH_MAX: usize = 64;
/// Most values in one file, counting what aliases repeat.
const NODES_MAX: usize = 50_000;

/// Reads a file into a tree; `None` when errors were reported that leave no tree.
pub(crate) fn load(text: &str, file: FileId, report: &mut Report) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > FILE_BYTES_MAX {
        report.error(
            Span::at(file, 1, 1),
            format!(
                "the file has {} bytes; a manifest may have {FILE_BYTES_MAX} (1 MiB)",
                text.len()
            ),
            "check that this is a manifest; if it is, split it into several application files",
        );
        return None;
    }
    if !check_characters(file, report) {
        return None;
    }
    let mut builder = Builder::new(file, report);
    let mut parser = Parser::new_from_str(text);
    builder.run(&mut parser)?;
    let root = builder.root.take();
    if root.is_none() {
        builder.report.error(
            Span::at(file, 1, 1),
            "the file is empty",
            "write 'version: 1' and 'applications:', or the services of a Compose file",
        );
    }
    root
}

/// YAML allows no control characters but tabs and line breaks; the parser would stop at a NUL.
fn check_characters(file: FileId, report: &mut Report) -> bool {
    for line in 1..=report.lines(file).count() {
        let text = report.lines(file).text(line);
        let found = text
            .chars()
            .enumerate()
            .find(|(_, c)| c.is_control() && *c != '\t');
        if let Some((index, c)) = found {
            let code = u32::from(c);
            report.error(
                Span::at(file, line, index + 1),
                format!("the file contains the control character U+{code:04X}"),
                "remove it, or write it as an escape in a text in double quotes",
            );
            return false;
        }
    }
    true
}

/// A list or mapping whose end was not reached yet.
struct Open {
    start: Span,
    anchor: usize,
    join: Join,
    data: Data,
    /// The key that waits for its value.
    key: Option<(Arc<str>, Span)>,
    /// The keys so far, each with its line.
    keys: BTreeMap<Arc<str>, usize>,
    /// Values below a merge key (`<<`), in their order.
    merges: Vec<Node>,
}

struct Builder<'r> {
    file: FileId,
    report: &'r mut Report,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

impl<'r> Builder<'r> {
    fn new(file: FileId, report: &'r mut Report) -> Self {
        Self {
            file,
            report,
            open: Vec::new(),
            anchors: BTreeMap::new(),
            nodes: 0,
            documents: 0,
            root: None,
        }
    }

    fn run(&mut self, parser: &mut Parser<'_, StrInput<'_>>) -> Option<()> {
        while let Some(event) = parser.next_event() {
            let (event, marks) = match event {
                Ok(event) => event,
                Err(error) => {
                    let (message, hint) = explain(error.info());
                    let at = self.word_at(*error.marker());
                    self.report.error(at, message, hint);
                    return None;
                }
            };
            let span = span_of(self.file, marks.start, marks.end);
            self.take(event, span)?;
        }
        Some(())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
            Event::DocumentStart(_) => self.start_document(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                let form = self.form(&text, style, tag.as_deref(), span);
                let text = Arc::from(&*text);
                let node = Node {
                    join: join_of(tag.as_deref()),
                    ..Node::new(span, Data::Scalar(Scalar { text, form }))
                };
                self.add(node, anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), &["seq"], span);
                let join = join_of(tag.as_deref());
                self.start(span, anchor, join, Data::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), &["map"], span);
                let join = join_of(tag.as_deref());
                self.start(span, anchor, join, Data::Mapping(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
        }
    }

    /// The parser reports a point; people see the word there.
    fn word_at(&self, mark: Marker) -> Span {
        const LENGTH_MAX: usize = 80;
        let rest = self
            .report
            .lines(self.file)
            .text_from(mark.line(), mark.col() + 1);
        let length = rest
            .chars()
            .take(LENGTH_MAX)
            .take_while(|c| !c.is_whitespace())
            .count();
        let column = mark.col() + 1;
        Span {
            end_column: column + length,
            ..Span::at(self.file, mark.line(), column)
        }
    }

    fn start_document(&mut self, span: Span) -> Option<()> {
        self.documents += 1;
        if self.documents > 1 {
            self.report.error(
                span,
                "the file holds more than one YAML document",
                "write each document into a file of its own and remove this '---'",
            );
            return None;
        }
        Some(())
    }

    fn start(&mut self, start: Span, anchor: usize, join: Join, data: Data) -> Option<()> {
        if self.open.len() >= DEPTH_MAX {
            self.report.error(
                start,
                format!("lists and mappings are nested more than {DEPTH_MAX} deep"),
                "no manifest needs this; check the brackets and the indentation",
            );
            return None;
        }
        self.open.push(Open {
            start,
            anchor,
            join,
            data,
            key: None,
            keys: BTreeMap::new(),
            merges: Vec::new(),
        });
        Some(())
    }

    fn end(&mut self, span: Span) -> Option<()> {
        let mut open = self.open.pop()?;
        let merges = std::mem::take(&mut open.merges);
        if let Data::Mapping(entries) = &mut open.data {
            for merge in merges {
                self.merge(entries, &mut open.keys, merge);
            }
        }
        let (end_line, end_column) =
            (span.end_line, span.end_column).max((open.start.end_line, open.start.end_column));
        let span = Span {
            end_line,
            end_column,
            ..open.start
        };
        let node = Node {
            span,
            data: open.data,
            join: open.join,
        };
        let size = if open.anchor == 0 { 0 } else { size(&node) };
        self.add(node, open.anchor, size)
    }

    /// Adds what a merge key brings; keys of the mapping itself, and earlier merges, win.
    fn merge(
        &mut self,
        entries: &mut Vec<Entry>,
        keys: &mut BTreeMap<Arc<str>, usize>,
        merge: Node,
    ) {
        let span = merge.span;
        let sources = match merge.data {
            Data::Sequence(nodes) => nodes,
            data => vec![Node::new(span, data)],
        };
        for source in sources {
            let Data::Mapping(merged) = source.data else {
                self.report.error(
                    source.span,
                    "'<<' merges mappings; this is not one",
                    "write '<<: *NAME' where '&NAME' marks a mapping",
                );
                continue;
            };
            for entry in merged {
                if !keys.contains_key(&entry.key) {
                    keys.insert(Arc::clone(&entry.key), entry.key_span.line);
                    entries.push(entry);
                }
            }
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Option<()> {
        let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
            self.report.error(
                span,
                "this alias stands inside the value that it repeats",
                "write the value out",
            );
            return None;
        };
        self.add(node, 0, size)
    }

    /// Puts a finished value where it belongs: as key, value, item or root.
    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Option<()> {
        self.nodes = self.nodes.saturating_add(size.max(1));
        if self.nodes > NODES_MAX {
            self.report.error(
                node.span,
                format!("the file holds more than {NODES_MAX} values, counting repeated ones"),
                "split it into several application files; check what its aliases repeat",
            );
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        if let Data::Sequence(items) = &mut parent.data {
            items.push(node);
            return Some(());
        }
        match parent.key.take() {
            Some((key, key_span)) => self.add_entry(key, key_span, node),
            None => self.set_key(node)?,
        }
        Some(())
    }

    fn set_key(&mut self, node: Node) -> Option<()> {
        let Data::Scalar(scalar) = node.data else {
            self.report.error(
                node.span,
                "a list or mapping cannot be a key",
                "write a name before the ':'; a '{' that starts a text needs quotes",
            );
            return None;
        };
        if let Some(parent) = self.open.last_mut() {
            parent.key = Some((scalar.text, node.span));
        }
        Some(())
    }

    fn add_entry(&mut self, key: Arc<str>, key_span: Span, value: Node) {
        let Some(parent) = self.open.last_mut() else {
            return;
        };
        if &*key == "<<" {
            parent.merges.push(value);
            return;
        }
        let Data::Mapping(entries) = &mut parent.data else {
            return;
        };
        if let Some(first_line) = parent.keys.insert(Arc::clone(&key), key_span.line) {
            let message = format!(
                "the key {} was already given in line {first_line}",
                quoted(&key),
            );
            self.report
                .error(key_span, message, "keep one of the two, or rename this one");
            return;
        }
        entries.push(Entry {
            key,
            key_span,
            value,
        });
    }

    fn form(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Form {
        let by_style = match style {
            ScalarStyle::Plain => Form::Plain,
            _ => Form::Text,
        };
        let Some(tag) = tag.filter(|tag| join_of(Some(tag)) == Join::Merge) else {
            return by_style;
        };
        if tag.handle.is_empty() && tag.suffix == "!" || tag.handle == "!" && tag.suffix.is_empty()
        {
            return Form::Text;
        }
        self.check_tag(Some(tag), &["str", "int", "float", "bool", "null"], span);
        if tag.is_yaml_core_schema() && tag.suffix != "str" && !text.is_empty() {
            return Form::Plain;
        }
        if tag.suffix == "null" {
            return Form::Plain;
        }
        Form::Text
    }

    fn check_tag(&mut self, tag: Option<&Tag>, known: &[&str], span: Span) {
        let Some(tag) = tag.filter(|tag| join_of(Some(tag)) == Join::Merge) else {
            return;
        };
        if tag.is_yaml_core_schema() && known.contains(&tag.suffix.as_str()) {
            return;
        }
        let shown = if tag.is_yaml_core_schema() {
            format!("!!{}", tag.suffix)
        } else {
            tag.to_string()
        };
        self.report.error(
            span,
            format!("the tag {} means nothing in a manifest", quoted(&shown)),
            "remove the tag; to make a value text, put it in double quotes",
        );
    }
}

/// What a tag says about joining files; the other tags say nothing about it.
fn join_of(tag: Option<&Tag>) -> Join {
    match tag.map(|tag| (tag.handle.as_str(), tag.suffix.as_str())) {
        Some(("!", "reset")) => Join::Reset,
        Some(("!", "override")) => Join::Override,
        _ => Join::Merge,
    }
}

/// Reports `!reset` and `!override` in a file of a format that has no such tags.
pub(crate) fn refuse_joins(node: &Node, report: &mut Report) {
    if node.join != Join::Merge {
        report.error(
            node.span,
            "the tags '!reset' and '!override' mean nothing in this manifest",
            "remove the tag: only Compose files given with -f are merged",
        );
    }
    match &node.data {
        Data::Scalar(_) => {}
        Data::Sequence(items) => items.iter().for_each(|item| refuse_joins(item, report)),
        Data::Mapping(entries) => entries
            .iter()
            .for_each(|entry| refuse_joins(&entry.value, report)),
    }
}

/// Number of values in a tree.
pub(crate) fn size(node: &Node) -> usize {
    1 + match &node.data {
        Data::Scalar(_) => 0,
        Data::Sequence(items) => items.iter().map(size).sum(),
        Data::Mapping(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
    }
}

fn span_of(file: FileId, start: Marker, end: Marker) -> Span {
    Span {
        file,
        line: start.line(),
        column: start.col() + 1,
        end_line: end.line(),
        end_column: end.col() + 1,
    }
}

/// The parser's message in our words, and what usually helps.
fn explain(info: &str) -> (String, &'static str) {
    let hints: [(&str, &str, &str); 9] = [
        (
            "recursion limit",
            "lists and mappings are nested too deep",
            "no manifest needs this; check the brackets and the indentation",
        ),
        ("tab", "a tab is used for indentation", "indent with spaces"),
        (
            "mapping values are not allowed",
            "a ': ' is not allowed here",
            "put the whole value in double quotes if the ':' belongs to it; else check the \
             indentation of this line",
        ),
        (
            "did not find expected key",
            "this line is indented like no key above it",
            "indent it exactly like the keys it belongs to",
        ),
        (
            "simple key expect",
            "a ':' is missing after this key, or the line is indented wrongly",
            "write 'key: value', indented like the keys it belongs to",
        ),
        (
            "did not find expected '-' indicator",
            "an item of this list does not start with '-'",
            "write '- ' before the item, indented like the others",
        ),
        (
            "unexpected end of stream",
            "the file ends inside a text in quotes",
            "close the quote",
        ),
        (
            "unknown anchor",
            "this alias names an anchor that was not defined above",
            "mark the value to repeat with '&NAME' first",
        ),
        (
            "unknown escape character",
            "a text in double quotes holds an unknown escape",
            "write '\\\\' for a backslash, or use single quotes",
        ),
    ];
    hints
        .iter()
        .find(|(part, _, _)| info.contains(part))
        .map_or_else(
            || {
                (
                    format!("this is not valid YAML: {info}"),
                    "check the indentation, quotes and brackets here and in the line above",
                )
            },
            |(_, message, hint)| ((*message).to_owned(), *hint),
        )
}
