//! The table of contents of a tar archive. Nothing is unpacked: a member is a place in the file, and its name is
//! a key and never a path.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

/// The size of a block.
const BLOCK: u64 = 512;

/// The most members.
const MAX_MEMBERS: usize = 100_000;

/// The most bytes of all names together, targets of links included.
const MAX_NAMES: usize = 16 << 20;

/// The longest extended header, in bytes.
const MAX_HEADER_LEN: u64 = 64 << 10;

/// Where a member's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Their first byte in the archive.
    pub offset: u64,
    /// How many.
    pub size: u64,
}

/// What an archive holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Files by name.
    pub files: BTreeMap<String, Member>,
    /// Links by name, with the name of the member they point at.
    pub links: BTreeMap<String, String>,
}

impl Contents {
    /// Adds a link where there is a target, else a file. Which of two of one name is meant, nobody can tell.
    fn add(&mut self, name: String, target: Option<String>, member: Member) -> Result<(), String> {
        if self.files.contains_key(&name) || self.links.contains_key(&name) {
            return Err(format!("two members are called {name:?}"));
        }
        match target {
            Some(target) => drop(self.links.insert(name, target)),
            None => drop(self.files.insert(name, member)),
        }
        Ok(())
    }

    /// A file, or the file that a link points at. Links to links are not followed.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<Member> {
        let name = self.links.get(name).map_or(name, String::as_str);
        self.files.get(name).copied()
    }
}

/// What extended headers said about the next member.
#[derive(Default)]
struct Extended {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

/// Reads the table of contents.
///
/// # Errors
/// What is wrong, in words.
pub fn contents(archive: &mut (impl Read + Seek)) -> Result<Contents, String> {
    let fails = |e: std::io::Error| e.to_string();
    let length = archive.seek(SeekFrom::End(0)).map_err(fails)?;
    let mut found = Contents::default();
    let mut extended = Extended::default();
    let mut at = 0_u64;
    let mut blocks = 0_usize;
    let mut names = 0_usize;
    while at < length {
        let mut block = [0_u8; 512];
        archive.seek(SeekFrom::Start(at)).map_err(fails)?;
        archive.read_exact(&mut block).map_err(|_| "it ends within a header".to_owned())?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(found);
        }
        blocks += 1;
        if blocks > MAX_MEMBERS {
            return Err(format!("more than {MAX_MEMBERS} members, which is the limit"));
        }
        let header = Header(&block);
        header.check()?;
        let kind = header.kind();
        let own_size = header.size()?;
        let size = if is_extension(kind) { own_size } else { extended.size.unwrap_or(own_size) };
        let offset = at + BLOCK;
        let end = offset.checked_add(size).filter(|end| *end <= length);
        let end = end.ok_or_else(|| "a member goes beyond the end of the archive".to_owned())?;
        if is_extension(kind) {
            if size > MAX_HEADER_LEN {
                return Err("an extended header is longer than 64 KiB, which is the limit".into());
            }
            let mut text = Vec::new();
            archive.take(size).read_to_end(&mut text).map_err(fails)?;
            extended.read(kind, &text)?;
        } else {
            let said = std::mem::take(&mut extended);
            let name = normal(&said.name.map_or_else(|| header.name(), Ok)?)?;
            let link = || said.link.map_or_else(|| header.link(), Ok);
            let target = match kind {
                b'0' | 0 | b'7' | b'5' => None,
                b'1' => Some(normal(&link()?)?),
                b'2' => Some(relative(&name, &link()?)?),
                _ => return Err("a member which is no file, no directory and no link".into()),
            };
            names = names.saturating_add(name.len() + target.as_ref().map_or(0, String::len));
            if names > MAX_NAMES {
                return Err("more than 16 MiB of names, which is the limit".into());
            }
            if kind != b'5' {
                found.add(name, target, Member { offset, size })?;
            }
        }
        at = end.checked_next_multiple_of(BLOCK).ok_or_else(|| "a size without bounds".to_owned())?;
    }
    Ok(found)
}

/// Extended headers: pax for one member or for all, and GNU's long names.
fn is_extension(kind: u8) -> bool {
    matches!(kind, b'x' | b'g' | b'L' | b'K')
}

impl Extended {
    fn read(&mut self, kind: u8, text: &[u8]) -> Result<(), String> {
        let long = || text_of(text.split(|byte| *byte == 0).next().unwrap_or_default());
        match kind {
            b'L' => self.name = Some(long()?),
            b'K' => self.link = Some(long()?),
            b'x' => self.read_pax(text)?,
            // What holds for all members (a comment of git, say) names none.
            _ => {}
        }
        Ok(())
    }

    /// Records `length key=value\n`, the length being that of the whole record.
    fn read_pax(&mut self, mut text: &[u8]) -> Result<(), String> {
        let wrong = || "an extended header that cannot be read".to_owned();
        while !text.is_empty() {
            let space = text.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
            let (digits, _) = text.split_at(space);
            let length: usize = text_of(digits)?.parse().map_err(|_| wrong())?;
            if length <= space || length > text.len() {
                return Err(wrong());
            }
            let (record, rest) = text.split_at(length);
            let record = record.get(space + 1..).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(wrong)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
            let (key, value) = record.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"path" => self.name = Some(text_of(value)?),
                b"linkpath" => self.link = Some(text_of(value)?),
                b"size" => self.size = Some(text_of(value)?.parse().map_err(|_| wrong())?),
                _ => {}
            }
            text = rest;
        }
        Ok(())
    }
}

/// A header block.
struct Header<'b>(&'b [u8; 512]);

impl Header<'_> {
    fn field(&self, from: usize, to: usize) -> &[u8] {
        self.0.get(from..to).unwrap_or_default()
    }

    fn kind(&self) -> u8 {
        self.field(156, 157).first().copied().unwrap_or(0)
    }

    /// The sum of all bytes, the field of the sum itself read as spaces.
    fn check(&self) -> Result<(), String> {
        let sum: u64 = self
            .0
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) })
            .sum();
        if number(self.field(148, 156)) == Some(sum) { Ok(()) } else { Err("it is no tar archive".into()) }
    }

    fn size(&self) -> Result<u64, String> {
        number(self.field(124, 136)).ok_or_else(|| "a member with a size which is no number".to_owned())
    }

    fn name(&self) -> Result<String, String> {
        let name = text_of(until_zero(self.field(0, 100)))?;
        // Only POSIX' form has a prefix; GNU's keeps other things there.
        let posix = self.field(257, 263) == b"ustar\0";
        let prefix = if posix { text_of(until_zero(self.field(345, 500)))? } else { String::new() };
        Ok(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
    }

    fn link(&self) -> Result<String, String> {
        text_of(until_zero(self.field(157, 257)))
    }
}

/// An octal number between spaces, or GNU's binary one.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |n, byte| n.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let text = std::str::from_utf8(until_zero(field)).ok()?.trim();
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text_of(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a name which is no text".to_owned())
}

/// A name without `./` and without a slash at its end; an error for what leads elsewhere.
fn normal(name: &str) -> Result<String, String> {
    if name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(format!("the path {name:?}, which leads out of the archive"));
    }
    Ok(parts(name).collect::<Vec<_>>().join("/"))
}

/// What a symbolic link points at, seen from where it lies.
fn relative(name: &str, target: &str) -> Result<String, String> {
    let out = || format!("a link to {target:?}, which leads out of the archive");
    if target.starts_with('/') {
        return Err(out());
    }
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut place: Vec<&str> = parts(folder).collect();
    for part in parts(target) {
        if part == ".." {
            place.pop().ok_or_else(out)?;
        } else {
            place.push(part);
        }
    }
    Ok(place.join("/"))
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !matches!(*part, "" | "."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// Gives a block the sum that it should have, so that what is random is read at all.
    fn with_sum(mut block: Vec<u8>) -> Vec<u8> {
        block.resize(512, 0);
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    proptest! {
        #[test]
        fn every_member_lies_within_and_no_name_leads_out(
            blocks in prop::collection::vec((prop::collection::vec(any::<u8>(), 512), "[./a-c]{0,12}", 0_u64..700, prop::sample::select(b"0125xLK7g\0".to_vec())), 0..6),
        ) {
            let mut archive = Vec::new();
            for (noise, name, size, kind) in blocks {
                let mut block = noise.clone();
                block[..100].fill(0);
                block[..name.len()].copy_from_slice(name.as_bytes());
                block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
                block[156] = kind;
                block[157..257].fill(0);
                block[157..157 + name.len()].copy_from_slice(name.as_bytes());
                archive.extend(with_sum(block));
                archive.extend(&noise);
            }
            if let Ok(found) = contents(&mut Cursor::new(&archive)) {
                for (name, member) in &found.files {
                    prop_assert!(member.offset + member.size <= archive.len() as u64);
                    prop_assert!(!name.split('/').any(|part| part == ".."));
                }
                for target in found.links.values() {
                    prop_assert!(!target.starts_with('/') && !target.split('/').any(|part| part == ".."));
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = contents(&mut Cursor::new(&bytes));
            let _ = contents(&mut Cursor::new(with_sum(bytes)));
        }
    }

    #[test]
    fn pax_headers_name_the_next_member_and_only_it() {
        let mut extended = Extended::default();
        extended.read(b'x', b"12 path=a/b\n11 size=42\n16 linkpath=l/m\n").unwrap();
        assert_eq!((extended.name.as_deref(), extended.size), (Some("a/b"), Some(42)));
        assert_eq!(extended.link.as_deref(), Some("l/m"));
        for wrong in ["12 path=a/b", "5 a=b\n", "x path=a\n", "99999999999999999999999 a=b\n", "3 \n", " "] {
            assert!(Extended::default().read(b'x', wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_are_octal_or_binary() {
        assert_eq!(number(b"00000000017\0"), Some(15));
        assert_eq!(number(b"   17 \0"), Some(15));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\x00"), Some(256));
        assert_eq!(number(&[0xff; 12]), None);
        assert_eq!(number(b"-1\0"), None);
    }
}
