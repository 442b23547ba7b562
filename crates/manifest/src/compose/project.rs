//! The files of one Compose application: loaded, completed with variables, their `extends`
//! followed, and joined to one tree.
//!
//! What the files mean is read from that tree elsewhere. Other files are asked of the caller's
//! [`crate::ReadFile`]; a relative path counts from the directory of the project, or of the file
//! that `extends` brought.

use super::interpolate;
use super::merge;
use crate::ParseOptions;
use crate::diagnostic::quoted;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::{FILE_BYTES_MAX, FileId, Source, Span};
use crate::yaml::{self, Data, Node};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Most files that one application may consist of.
const FILES_MAX: usize = 100;
/// Most values that `extends` may copy, in all.
const COPIES_MAX: usize = 200_000;

/// What is known about the files of an application.
#[derive(Debug)]
pub(super) struct Project<'o> {
    pub(super) options: &'o ParseOptions,
    /// Where the relative paths of each file count from.
    directories: BTreeMap<FileId, PathBuf>,
    /// Files that `extends` named.
    extended: BTreeMap<PathBuf, Option<Node>>,
    copies_left: usize,
}

/// A service of a file, for finding circles.
type Step = (Option<PathBuf>, String);

impl<'o> Project<'o> {
    /// No file yet.
    pub(super) fn new(options: &'o ParseOptions) -> Self {
        Self {
            options,
            directories: BTreeMap::new(),
            extended: BTreeMap::new(),
            copies_left: COPIES_MAX,
        }
    }

    /// The files joined, later ones over earlier ones.
    pub(super) fn join(&mut self, roots: Vec<Node>, report: &mut Report) -> Option<Node> {
        let mut joined: Option<Node> = None;
        for mut root in roots {
            interpolate::all(&mut root, &self.options.variables, report);
            self.extend_all(&mut root, report);
            joined = Some(match joined {
                Some(base) => merge::merge(base, root, &[], report),
                None => root,
            });
        }
        let mut joined = joined?;
        merge::tidy(&mut joined);
        Some(joined)
    }

    /// The path that a text of some file means, absolute where the caller's directories are.
    pub(super) fn path(&self, text: &str, at: Span) -> PathBuf {
        let directory = self
            .directories
            .get(&at.file)
            .unwrap_or(&self.options.directory);
        let home = || self.options.variables.get("HOME").map(PathBuf::from);
        let path = match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => match home() {
                Some(home) => home.join(rest.trim_start_matches('/')),
                None => PathBuf::from(text),
            },
            _ => directory.join(text),
        };
        normalised(&path)
    }

    /// The text of a file that must be there; `None` after an error at `at`.
    pub(super) fn text(
        &self,
        path: &Path,
        what: &str,
        at: Span,
        report: &mut Report,
    ) -> Option<String> {
        let text = self.text_if_there(path, what, at, report)?;
        if text.is_none() {
            report.error(
                at,
                format!("{what} {} is not there", shown(path)),
                "write its path relative to the directory of this file, or make the file",
            );
        }
        text
    }

    /// A file's text; an inner `None` when it is not there, an outer one after an error.
    pub(super) fn text_if_there(
        &self,
        path: &Path,
        what: &str,
        at: Span,
        report: &mut Report,
    ) -> Option<Option<String>> {
        let Some(bytes) = self.read(path, what, at, report)? else {
            return Some(None);
        };
        match String::from_utf8(bytes) {
            Ok(text) => Some(Some(text)),
            Err(_) => {
                let message = format!("{what} {} is not a text in UTF-8", shown(path));
                report.error(at, message, "encode what it holds, for example in base64");
                None
            }
        }
    }

    /// A file's bytes; an inner `None` when it is not there, an outer one after an error.
    fn read(
        &self,
        path: &Path,
        what: &str,
        at: Span,
        report: &mut Report,
    ) -> Option<Option<Vec<u8>>> {
        let Some(files) = &self.options.files else {
            report.error(
                at,
                format!("{what} {} cannot be read from here", shown(path)),
                "give the manifest to the command as a file",
            );
            return None;
        };
        match files.read(path, FILE_BYTES_MAX) {
            Ok(bytes) if bytes.len() <= FILE_BYTES_MAX => Some(Some(bytes)),
            Ok(_) => {
                report.error(
                    at,
                    format!(
                        "{what} {} is larger than {FILE_BYTES_MAX} bytes",
                        shown(path)
                    ),
                    "put large files into a volume or into the image",
                );
                None
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Some(None),
            Err(error) => {
                report.error(
                    at,
                    format!("{what} {} cannot be read: {error}", shown(path)),
                    "check the path, and that you may read the file",
                );
                None
            }
        }
    }

    fn extend_all(&mut self, root: &mut Node, report: &mut Report) {
        let Some(services) = root.get("services") else {
            return;
        };
        if services.as_mapping().is_none() {
            return;
        }
        let services = services.clone();
        let Data::Mapping(entries) = &mut root.data else {
            return;
        };
        let extended = entries.iter_mut().filter(|entry| &*entry.key == "services");
        for entry in extended.flat_map(|entry| match &mut entry.value.data {
            Data::Mapping(entries) => entries.as_mut_slice(),
            Data::Scalar(_) | Data::Sequence(_) => &mut [],
        }) {
            if entry.value.get("extends").is_some() {
                let mut chain = vec![(None, entry.key.to_string())];
                if let Some(whole) =
                    self.extended(&entry.key, &entry.value, &services, &mut chain, report)
                {
                    entry.value = whole;
                }
            }
        }
    }

    /// A service on top of what it extends; `None` after an error.
    fn extended(
        &mut self,
        name: &str,
        service: &Node,
        siblings: &Node,
        chain: &mut Vec<Step>,
        report: &mut Report,
    ) -> Option<Node> {
        let Some(extends) = service.get("extends") else {
            return Some(service.clone());
        };
        let (base_name, file) = target(extends, report)?;
        let path = match file {
            Some((text, at)) => Some(self.path(text, at)),
            None => chain.last().and_then(|(path, _)| path.clone()),
        };
        let services = match (file, &path) {
            (Some((_, at)), Some(path)) => self.services_of(path, at, report)?,
            _ => siblings.clone(),
        };
        let at = extends.get("service").unwrap_or(extends).span;
        let Some(base) = services.get(base_name) else {
            let names = services.as_mapping().unwrap_or_default().iter();
            let near = crate::suggest::nearest(base_name, names.map(|entry| &*entry.key));
            report.error(
                at,
                format!("there is no service {} to extend", quoted(base_name)),
                match near {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => "name a service of the same file, or say 'file:'".to_owned(),
                },
            );
            return None;
        };
        let step = (path, base_name.to_owned());
        if chain.contains(&step) {
            report.error(
                at,
                format!("{} extends itself, in a circle", quoted(name)),
                "remove one of the 'extends'",
            );
            return None;
        }
        chain.push(step);
        let mut base = self.extended(base_name, base, &services, chain, report)?;
        self.copies_left = self.copies_left.saturating_sub(yaml::size(&base));
        if self.copies_left == 0 {
            report.error(
                at,
                format!("'extends' copies more than {COPIES_MAX} values"),
                "split the file into several applications",
            );
            return None;
        }
        if let Data::Mapping(entries) = &mut base.data {
            entries.retain(|entry| &*entry.key != "extends");
        }
        let mut whole = merge::merge(base, service.clone(), &["services", name], report);
        if let Data::Mapping(entries) = &mut whole.data {
            entries.retain(|entry| &*entry.key != "extends");
        }
        whole.span = service.span;
        Some(whole)
    }

    /// The services of another file.
    fn services_of(&mut self, path: &Path, at: Span, report: &mut Report) -> Option<Node> {
        if !self.extended.contains_key(path) {
            if self.extended.len() >= FILES_MAX {
                report.error(
                    at,
                    format!("'extends' names more than {FILES_MAX} files"),
                    "join some of them",
                );
                return None;
            }
            let loaded = self.load(path, at, report);
            self.extended.insert(path.to_owned(), loaded);
        }
        let root = self.extended.get(path)?.as_ref()?;
        let services = root
            .get("services")
            .filter(|node| node.as_mapping().is_some());
        if services.is_none() {
            report.error(
                at,
                format!("{} has no services to extend", shown(path)),
                "name a Compose file",
            );
        }
        services.cloned()
    }

    fn load(&mut self, path: &Path, at: Span, report: &mut Report) -> Option<Node> {
        let text = self.text(path, "the Compose file", at, report)?;
        let source = Source::new(path.display().to_string(), text);
        let file = report.add_file(&source);
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        self.directories.insert(file, directory);
        let mut root = yaml::load(&source.text, file, report)?;
        interpolate::all(&mut root, &self.options.variables, report);
        Some(root)
    }
}

/// The service that `extends` names, and the file where it says one.
fn target<'n>(
    extends: &'n Node,
    report: &mut Report,
) -> Option<(&'n str, Option<(&'n str, Span)>)> {
    let hint = "write 'extends: {service: name}', or 'extends: {file: other.yml, service: name}'";
    let dialect = Dialect::Compose;
    if extends.as_scalar().is_some() {
        return Some((read::text(extends, "'extends'", dialect, report)?, None));
    }
    let entries = read::mapping(extends, "'extends'", hint, report)?;
    read::unknown_keys(entries, &["service", "file"], "'extends'", report);
    let service = read::required(extends, "service", extends.span, hint, report)?;
    let service = read::text(service, "'service'", dialect, report)?;
    let file = match extends.get("file").filter(|node| !node.is_null()) {
        Some(node) => Some((read::text(node, "'file'", dialect, report)?, node.span)),
        None => None,
    };
    Some((service, file))
}

/// A path in quotes, for messages.
pub(super) fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// The path without `.`, `..` and doubled slashes, as far as its text shows.
fn normalised(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                let last = out.components().next_back();
                match last {
                    Some(Component::Normal(_)) => drop(out.pop()),
                    Some(Component::RootDir) => {}
                    _ => out.push(".."),
                }
            }
            other => out.push(other),
        }
    }
    out
}
