//! Reads, checks and applies a classic patch in unified or git format.
//!
//! libgit2 applies a hunk only at the exact line in its header, rejects patches without git's own header, and does
//! not check names and modes. Therefore this module parses and checks the patch, finds the place of each hunk, and
//! gives libgit2 a new patch of a single file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use git2::{Diff, Odb, Oid, Repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::patch::checkout::{Content, conflict_lines, merge};

mod parse;

/// The largest patch that is read, in bytes. A typical patch for the installer has about ten thousand.
pub const LIMIT: u64 = 16 << 20;

/// A parsed patch: the changes to each file, in the order of the patch.
#[derive(Clone, Debug)]
pub struct PatchFile {
    pub label: Label,
    files: Vec<FilePatch>,
}

/// Identifies a patch in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Label {
    /// The last element of the patch's path.
    pub name: String,
    /// The git blob id of the patch's bytes.
    pub hash: String,
}

/// The changes to one file.
#[derive(Clone, Debug)]
struct FilePatch {
    /// The first line of this part in the patch, from 1.
    line: usize,
    /// The name as the patch writes it. For a rename this is the old name with a folder before it, as `-p 1` expects.
    written: String,
    /// `None` if the file is added.
    old: Option<String>,
    /// `None` if the file is deleted.
    new: Option<String>,
    /// Whether the old file may be missing. It is added in that case.
    may_add: bool,
    /// Whether the old file also stays under its old name.
    copies: bool,
    /// Whether the new file is executable; `None` if the patch does not set a mode.
    executable: Option<bool>,
    /// The abbreviated id of the blob that the patch was made from, from the `index` line.
    base: Option<String>,
    hunks: Vec<Hunk>,
}

#[derive(Clone, Debug)]
struct Hunk {
    /// The line of the hunk's header in the patch, from 1.
    line: usize,
    /// The header, up to the second `@@`.
    header: String,
    /// The first line in the original file, from 1.
    start: usize,
    lines: Vec<Line>,
}

/// A line of a hunk, without its sign. The text has no newline if the line ends a file without one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    sign: u8,
    text: Vec<u8>,
}

/// The result of a patch for one file, with the line of each hunk in the result.
#[derive(Debug)]
pub struct Change {
    pub path: String,
    pub after: Option<Content>,
    pub lines: Vec<usize>,
    /// By how many lines the change moves the lines from a line number on.
    pub shifts: Vec<(usize, isize)>,
}

/// Reads a file as it is after the patches before this one; `None` if there is no such file.
pub type Source<'a> = &'a dyn Fn(&str) -> Result<Option<Content>>;

/// Reads a blob by its id, which may be abbreviated; `None` if the repository does not have it.
pub type Blobs<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u8>>>;

impl PatchFile {
    /// Parses a patch. `strip` is the number of leading path elements that are removed from each name, as in `git
    /// apply -p`.
    ///
    /// # Errors
    /// Anything but a patch of text files below the installer's root. The error names the line.
    pub fn parse(name: &str, bytes: &[u8], strip: usize) -> Result<Self> {
        let hash = Oid::hash_object(git2::ObjectType::Blob, bytes)?.to_string();
        let files = parse::files(name, bytes, strip)?;
        let patch = Self { label: Label { name: name.to_owned(), hash }, files };
        patch.refuse_the_same_file_twice()?;
        Ok(patch)
    }

    /// The paths of all files that the patch reads or writes.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().flat_map(|file| [&file.old, &file.new]).flatten().map(String::as_str)
    }

    /// libgit2 would apply the second change to the original file and lose the first.
    fn refuse_the_same_file_twice(&self) -> Result<(), Error> {
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        for file in &self.files {
            // A copied file itself does not change.
            let old = file.old.as_deref().filter(|_| !file.copies);
            for path in old.into_iter().chain(file.new.as_deref().filter(|new| old != Some(*new))) {
                if let Some(line) = known.insert(path, file.line) {
                    let at = format!("in lines {line} and {} of it", file.line);
                    return Err(Error::refused(format!("`{}` changes `{path}` twice, {at}", self.label.name))
                        .hint("make it two patches: several `--patch` are applied in their order"));
                }
            }
        }
        Ok(())
    }

    /// Applies the patch to the files that `read` returns. If a hunk does not fit and `blobs` is given, the file is
    /// merged (three-way) with the patched version of the blob that the patch was made from, if the repository has
    /// it.
    ///
    /// # Errors
    /// Every hunk that does not fit, with its file, the expected lines and the nearest place.
    pub fn apply(&self, read: Source, blobs: Option<Blobs>) -> Result<Vec<Change>> {
        let (mut changes, mut trouble) = (Vec::new(), Trouble::default());
        for file in &self.files {
            // Enough details for an error message; the search for each further missing file takes time.
            if trouble.details.len() > MOST {
                break;
            }
            file.apply(read, blobs, &mut changes, &mut trouble)?;
        }
        if trouble.details.is_empty() {
            return Ok(changes);
        }
        let error = Error::refused(format!("`{}` does not fit these sources", self.label.name));
        let error = trouble.details.into_iter().fold(error, Error::detail);
        Err(trouble.hints.into_iter().fold(error, Error::hint).into())
    }
}

/// The hunks that do not fit, with hints.
#[derive(Default)]
struct Trouble {
    details: Vec<String>,
    hints: Vec<String>,
}

const APPLIED: &str = "it seems to be applied already: the reversed patch fits";

/// The most places that one error names.
const MOST: usize = 20;

impl Trouble {
    fn say(&mut self, detail: String) {
        match self.details.len() {
            0..MOST => self.details.push(detail),
            MOST => self.details.push("and more".into()),
            _ => {}
        }
    }

    fn hint(&mut self, hint: &str) {
        if !self.hints.iter().any(|known| known == hint) {
            self.hints.push(hint.into());
        }
    }
}

impl FilePatch {
    /// Adds the result for this file to `changes`, or the reasons why it does not fit to `trouble`.
    fn apply(
        &self,
        read: Source,
        blobs: Option<Blobs>,
        changes: &mut Vec<Change>,
        trouble: &mut Trouble,
    ) -> Result<()> {
        let at = format!("line {} of the patch", self.line);
        let before = self.old.as_deref().map(read).transpose()?.flatten();
        if let Some(new) =
            self.new.as_ref().filter(|_| self.may_add && before.as_ref().is_some_and(|b| !b.bytes.is_empty()))
        {
            trouble.say(format!("`{new}` exists already, but {at} adds it"));
            return Ok(());
        }
        if let (Some(old), None, false) = (&self.old, &before, self.may_add) {
            trouble.say(format!("`{old}` does not exist, but {at} changes it"));
            // The name may have another number of leading folders: try each.
            let parts: Vec<&str> = self.written.split('/').collect();
            let there = |strip: &usize| matches!(read(&parts[*strip..].join("/")), Ok(Some(_)));
            if let Some(strip) = (0..parts.len().min(MOST)).find(there) {
                trouble.hint(&format!("`{}` exists: try `-p {strip}`", parts[strip..].join("/")));
            }
            return Ok(());
        }
        if let Some(new) = self.new.as_ref().filter(|new| self.copies || self.old.as_ref() != Some(new))
            && let Some(there) = read(new)?
        {
            if undone(&self.hunks, &there.bytes) {
                trouble.hint(APPLIED);
            }
            trouble.say(format!("`{new}` exists already, but {at} adds it"));
            return Ok(());
        }
        let old_bytes = before.as_ref().map_or(&[][..], |content| &content.bytes);
        let mut shifts = Vec::new();
        let (after, lines) = match place(&self.hunks, old_bytes) {
            Ok(placed) => {
                shifts.extend(placed.iter().flat_map(Placed::shifts));
                let after = apply_in_memory(old_bytes, &placed)?;
                // Lines removed at the end of the file have no number in the result. The last line is reported
                // instead.
                let last = lines_of(&after).len().max(1);
                let lines = placed.iter().map(|one| one.line().min(last)).collect();
                (after, lines)
            }
            Err(misfits) => match blobs.map(|blobs| self.merged(old_bytes, blobs)).transpose()?.flatten() {
                Some(Ok((after, lines))) => (after, lines),
                Some(Err(conflict)) => {
                    trouble.say(format!("`{}`: a three-way merge has conflicts{conflict}", self.path()));
                    return Ok(());
                }
                None => {
                    if undone(&self.hunks, old_bytes) {
                        trouble.hint(APPLIED);
                    }
                    if let Some(blobs) = blobs {
                        trouble.hint(&self.without_base(blobs)?);
                    }
                    misfits.into_iter().for_each(|misfit| trouble.say(format!("`{}`: {misfit}", self.path())));
                    return Ok(());
                }
            },
        };
        if self.new.is_none() && !after.is_empty() {
            trouble.say(format!("`{}`: {at} deletes it, but it has lines that the patch does not have", self.path()));
            return Ok(());
        }
        if let Some(old) = self.old.as_ref().filter(|old| self.new.as_ref() != Some(old) && !self.copies) {
            changes.push(Change { path: old.clone(), after: None, lines: Vec::new(), shifts: Vec::new() });
        }
        if let Some(new) = &self.new {
            let mode = self.mode(before.as_ref());
            changes.push(Change { path: new.clone(), after: Some(Content { bytes: after, mode }), lines, shifts });
        }
        Ok(())
    }

    /// Why no merge was tried.
    fn without_base(&self, blobs: Blobs) -> Result<String> {
        let path = self.path();
        Ok(match &self.base {
            None => format!("`--3way`: the patch does not say which blob its change of `{path}` was made from"),
            Some(base) if blobs(base)?.is_some() => {
                format!(
                    "`--3way`: the patch of `{path}` does not fit blob `{base}` either, although it names that blob"
                )
            }
            Some(base) => {
                format!("`--3way`: this repository has no blob `{base}`, which the patch of `{path}` was made from")
            }
        })
    }

    fn path(&self) -> &str {
        self.new.as_deref().or(self.old.as_deref()).unwrap_or_default()
    }

    /// The permission bits of the result. Bits that the patch does not set are unchanged.
    fn mode(&self, before: Option<&Content>) -> u32 {
        let mode = before.map_or(0o644, |content| content.mode);
        match self.executable {
            None => mode,
            Some(true) => mode | (mode & 0o444) >> 2,
            Some(false) => mode & !0o111,
        }
    }

    /// The three-way merge: the text and the lines of the hunks, or the conflicts. `None` if the base is missing.
    #[allow(clippy::type_complexity)]
    fn merged(&self, ours: &[u8], blobs: Blobs) -> Result<Option<Result<(Vec<u8>, Vec<usize>), String>>> {
        let Some(base) = self.base.as_deref().map(blobs).transpose()?.flatten() else { return Ok(None) };
        let Ok(placed) = place(&self.hunks, &base) else { return Ok(None) };
        let theirs = apply_in_memory(&base, &placed)?;
        Ok(Some(match merge(&base, ours, &theirs, ["the checkout", "the patch"])? {
            Ok(text) => {
                let lines = self.hunks.iter().map(|hunk| find_added(hunk, &text)).collect();
                Ok((text, lines))
            }
            Err(text) => Err(conflict_lines(&text)),
        }))
    }
}

/// A hunk and the place in a file where it fits.
struct Placed<'patch> {
    hunk: &'patch Hunk,
    /// Its first line in the old file and in the new file, from 0.
    old: usize,
    new: usize,
}

impl Placed<'_> {
    /// For each added or removed line, a line number of the old file, from 1, and by how much the lines from there on
    /// move.
    fn shifts(&self) -> Vec<(usize, isize)> {
        let (mut at, mut shifts) = (self.old + 1, Vec::new());
        for line in &self.hunk.lines {
            at += usize::from(line.sign != b'+');
            match line.sign {
                b'+' => shifts.push((at, 1)),
                b'-' => shifts.push((at, -1)),
                _ => {}
            }
        }
        shifts
    }

    /// The first line in the new file that the hunk changes, from 1.
    fn line(&self) -> usize {
        self.new + 1 + self.hunk.lines.iter().take_while(|line| line.sign == b' ').count()
    }
}

impl Hunk {
    fn growth(&self) -> isize {
        self.side(b'-').len().cast_signed() - self.side(b'+').len().cast_signed()
    }

    /// The lines of the old file (without `+`) or of the new file (without `-`).
    fn side(&self, without: u8) -> Vec<&[u8]> {
        self.lines.iter().filter(|line| line.sign != without).map(|line| line.text.as_slice()).collect()
    }
}

/// Splits lines as git counts them.
fn lines_of(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').collect()
}

/// Finds the place of each hunk. The first candidate is the line in its header, moved by the offset of the hunk
/// before it. If the hunk does not fit there, it must fit exactly one place after the previous hunk.
fn place<'patch>(hunks: &'patch [Hunk], bytes: &[u8]) -> Result<Vec<Placed<'patch>>, Vec<String>> {
    let file = lines_of(bytes);
    let (mut placed, mut misfits) = (Vec::new(), Vec::new());
    let (mut free, mut moved, mut grown) = (0, 0_isize, 0_isize);
    for hunk in hunks {
        let old = hunk.side(b'+');
        // A hunk whose last line has no newline fits only at the end of the file. Elsewhere that line would join the
        // next one.
        let ends = hunk.side(b'-').last().is_some_and(|line| !line.ends_with(b"\n"));
        let fits = |at: usize| {
            let rest = file.get(at..).unwrap_or_default();
            rest.starts_with(&old) && !(ends && rest.len() > old.len())
        };
        let wanted = hunk.start.saturating_sub(usize::from(!old.is_empty()));
        let there = wanted.saturating_add_signed(moved);
        let at = match old.is_empty() {
            // A hunk without old lines fits only an empty file.
            true if file.is_empty() => Ok(0),
            true => Err("it has no context lines: make the patch with some".into()),
            false if there >= free && fits(there) => Ok(there),
            false => only_place(free..file.len(), fits).map_err(|places| misfit(&file, &old, there, &places)),
        };
        match at {
            Ok(at) => {
                placed.push(Placed { hunk, old: at, new: at.saturating_add_signed(grown) });
                free = at + old.len();
                moved = at.cast_signed() - wanted.cast_signed();
                grown += hunk.growth();
            }
            Err(why) => misfits.push(format!("`{}` (line {} of the patch): {why}", hunk.header, hunk.line)),
        }
        // A patch can have half a million hunks, and the search for each nearest place takes time.
        if misfits.len() > MOST {
            break;
        }
    }
    if misfits.is_empty() { Ok(placed) } else { Err(misfits) }
}

/// The only place that fits, or all of them.
fn only_place(range: Range<usize>, fits: impl Fn(usize) -> bool) -> Result<usize, Vec<usize>> {
    let places: Vec<usize> = range.filter(|&at| fits(at)).collect();
    match places[..] {
        [place] => Ok(place),
        _ => Err(places),
    }
}

/// The most lines of a hunk that an error shows.
const SHOWN: usize = 12;

/// Why a hunk does not fit: the expected lines and the nearest place.
fn misfit(file: &[&[u8]], old: &[&[u8]], wanted: usize, places: &[usize]) -> String {
    let text = |line: &[u8]| String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned();
    if let [first, .., last] = places {
        let count = places.len();
        return format!("it fits {count} places, the first in line {} and the last in line {}", first + 1, last + 1);
    }
    let mut out = String::from("expected:");
    old.iter().take(SHOWN).for_each(|line| out.push_str(&format!("\n| {}", text(line))));
    if old.len() > SHOWN {
        out.push_str(&format!("\n| … and {} more lines", old.len() - SHOWN));
    }
    // Mail and editors often change white space and line ends, so the search for the nearest place ignores them.
    let alike = |one: &[u8], other: &[u8]| one.trim_ascii() == other.trim_ascii() && !one.trim_ascii().is_empty();
    let same = |at: usize| old.iter().zip(&file[at..]).filter(|(one, other)| alike(one, other));
    let best = (0..file.len()).map(|at| (same(at).count(), std::cmp::Reverse(at.abs_diff(wanted)), at)).max();
    let Some((count @ 1.., _, at)) = best else {
        out.push_str(&format!("\nfound: none of these in its {} lines", file.len()));
        return out;
    };
    let verb = if count == 1 { "matches" } else { "match" };
    out.push_str(&format!("\nnearest: line {}, where {count} of them {verb}", at + 1));
    let differs = old.iter().enumerate().find(|(n, line)| file.get(at + n) != Some(line));
    if differs.is_none() {
        out.push_str("; the patch ends the file there without a newline, but the file continues");
    }
    if let Some((n, line)) = differs {
        let found = file.get(at + n);
        let ends = found.is_some_and(|found| text(found) == text(line));
        match found {
            Some(_) if ends => {
                out.push_str(&format!("; line {} has another line end (CR LF, or no newline)", at + n + 1));
            }
            Some(found) if alike(found, line) => {
                out.push_str(&format!("; line {} differs in white space only", at + n + 1));
            }
            Some(found) => out.push_str(&format!("; line {} is `{}`", at + n + 1, text(found).trim())),
            None => out.push_str("; the file ends there"),
        }
    }
    out
}

/// Whether the file already has these changes: the reversed hunks fit.
fn undone(hunks: &[Hunk], bytes: &[u8]) -> bool {
    let turned = |line: &Line| Line {
        sign: match line.sign {
            b'+' => b'-',
            b'-' => b'+',
            sign => sign,
        },
        text: line.text.clone(),
    };
    let turned: Vec<Hunk> =
        hunks.iter().map(|hunk| Hunk { lines: hunk.lines.iter().map(turned).collect(), ..hunk.clone() }).collect();
    !turned.is_empty() && place(&turned, bytes).is_ok()
}

/// The line, from 1, where the text that a hunk added begins in a merged file. If there are several, the one nearest
/// to the hunk's original line.
fn find_added(hunk: &Hunk, text: &[u8]) -> usize {
    let added: Vec<&[u8]> =
        hunk.lines.iter().filter(|line| line.sign == b'+').map(|line| line.text.as_slice()).collect();
    let lines = lines_of(text);
    let there = |at: &usize| !added.is_empty() && lines[*at..].starts_with(&added);
    let found = (0..lines.len()).filter(there).min_by_key(|at| at.abs_diff(hunk.start));
    found.map_or(hunk.start, |at| at + 1).clamp(1, lines.len().max(1))
}

/// The file name in the patch that libgit2 gets.
const NAME: &str = "file";

/// Applies placed hunks with libgit2, in a repository in memory.
fn apply_in_memory(before: &[u8], placed: &[Placed]) -> Result<Vec<u8>> {
    if placed.is_empty() {
        return Ok(before.to_vec());
    }
    let patch = written(placed);
    let odb = Odb::new()?;
    let _backend = odb.add_new_mempack_backend(1)?;
    let repository = Repository::from_odb(odb)?;
    let mut tree = repository.treebuilder(None)?;
    tree.insert(NAME, repository.blob(before)?, 0o100_644)?;
    let tree = repository.find_tree(tree.write()?)?;
    let index = Diff::from_buffer(&patch)
        .and_then(|diff| repository.apply_to_tree(&tree, &diff, None))
        .context("libgit2 does not take a hunk that was placed")?;
    let entry = index.get_path(Path::new(NAME), 0).context("libgit2 lost the file that it patched")?;
    Ok(repository.find_blob(entry.id)?.content().to_vec())
}

/// The hunks in git's format, at the places where they fit.
fn written(placed: &[Placed]) -> Vec<u8> {
    let mut out = format!("diff --git a/{NAME} b/{NAME}\n--- a/{NAME}\n+++ b/{NAME}\n").into_bytes();
    for Placed { hunk, old, new } in placed {
        let (before, after) = (hunk.side(b'+').len(), hunk.side(b'-').len());
        // libgit2 takes the place from the `+` range and searches nowhere else, although that range describes the new
        // file.
        out.extend_from_slice(format!("@@ -{},{before} +{},{after} @@\n", old + 1, new + 1).as_bytes());
        for line in &hunk.lines {
            out.push(line.sign);
            out.extend_from_slice(&line.text);
            if !line.text.ends_with(b"\n") {
                out.extend_from_slice(b"\n\\ No newline at end of file\n");
            }
        }
    }
    out
}
