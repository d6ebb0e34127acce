//! Unpacking tar archives, compressed with gzip or not. Only names, bytes, links and whether a file may be run are taken: no owners, no times, no
//! devices, no set-user-id bits.

use std::io::{self, BufRead, BufReader, Read, Take};

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, EntryType};

use super::tree::Tree;
use crate::recipe::is_plain;

/// The most members.
const MAX_MEMBERS: u64 = 2_000_000;
/// The most bytes that come out.
const MAX_UNPACKED: u64 = 32 << 30;
/// What marks a name that a layer takes away from those below it.
const WHITEOUT: &str = ".wh.";
/// What marks a directory of which nothing of the layers below is left.
const OPAQUE: &str = ".wh..wh..opq";

/// How an archive is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unpacking<'p> {
    /// What every name begins with and is written without: `serde-1.0.0/`. A member of another name is refused.
    pub(crate) strip: Option<&'p str>,
    /// Which of its members.
    pub(crate) members: Members,
}

/// Which members of an archive are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    /// All of them.
    All,
    /// Of a layer of an image those that take names of the layers below away. Before the others, since they mean none of their own layer,
    /// wherever in it they stand.
    Gone,
    /// Of a layer all others.
    Left,
}

/// Unpacks an archive.
pub(crate) fn unpack(from: impl Read, into: &mut Tree, how: Unpacking<'_>) -> Result<(), String> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let begins = from.fill_buf().map_err(|e| e.to_string())?;
    if begins.starts_with(&[0x1f, 0x8b]) {
        unpack_plain(MultiGzDecoder::new(from).take(MAX_UNPACKED), into, how)
    } else {
        unpack_plain(from.take(MAX_UNPACKED), into, how)
    }
}

fn unpack_plain(from: Take<impl Read>, into: &mut Tree, how: Unpacking<'_>) -> Result<(), String> {
    let mut archive = Archive::new(from);
    let fails = |e: io::Error| e.to_string();
    let mut count = 0;
    for entry in archive.entries().map_err(fails)? {
        let mut entry = entry.map_err(fails)?;
        count += 1;
        if count > MAX_MEMBERS {
            return Err(format!("more than {MAX_MEMBERS} members, which is the limit"));
        }
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            continue;
        }
        let path = text(&entry.path_bytes())?;
        let Some(path) = plain(&path, how.strip)? else { continue };
        let wrong = |e: io::Error| format!("{path}: {e}");
        let name = path.rsplit('/').next().unwrap_or_default();
        match how.members {
            Members::Gone => {
                take_away(&path, name, into).map_err(wrong)?;
                continue;
            }
            Members::Left if name.starts_with(WHITEOUT) => continue,
            Members::Left | Members::All => {}
        }
        let target = || -> Result<String, String> {
            let link = entry.link_name_bytes().ok_or_else(|| format!("{path}: a link without a target"))?;
            text(&link)
        };
        match kind {
            EntryType::Directory => into.directory(&path).map(drop).map_err(wrong)?,
            EntryType::Regular | EntryType::Continuous => {
                let executable = entry.header().mode().map_err(wrong)? & 0o111 != 0;
                into.write(&path, executable, &mut entry).map_err(wrong)?;
            }
            EntryType::Symlink => into.symlink(&path, target()?).map_err(wrong)?,
            EntryType::Link => {
                let target =
                    plain(&target()?, how.strip)?.ok_or_else(|| format!("{path}: a link to nothing"))?;
                into.hard_link(&path, &target).map_err(wrong)?;
            }
            // The sandbox has devices of its own, and pipes are nothing to be unpacked.
            EntryType::Char | EntryType::Block | EntryType::Fifo => {}
            other => return Err(format!("{path}: a member of kind {:?}", char::from(other.as_byte()))),
        }
    }
    // Where the limit lies between two members, what is behind it would be missing without a word.
    if archive.into_inner().limit() == 0 {
        return Err(format!("more than {MAX_UNPACKED} bytes, which is the limit"));
    }
    Ok(())
}

/// Takes away what a member of a layer names, if it names something.
fn take_away(path: &str, name: &str, into: &mut Tree) -> io::Result<()> {
    let directory = path.strip_suffix(name).unwrap_or_default();
    if name == OPAQUE {
        for below in into.names(directory.trim_end_matches('/'))?.iter().rev() {
            into.remove(below)?;
        }
    } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
        into.remove(&format!("{directory}{gone}"))?;
    }
    Ok(())
}

/// A name as a path that leads down; `None` for the directory itself.
fn plain(name: &str, strip: Option<&str>) -> Result<Option<String>, String> {
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let path = parts.join("/");
    if path.is_empty() {
        return Ok(None);
    }
    if !is_plain(&path) {
        return Err(format!("the path {name:?}, which leads out of the archive"));
    }
    match strip {
        None => Ok(Some(path)),
        Some(top) => match path.strip_prefix(top) {
            Some("") => Ok(None),
            Some(rest) if rest.starts_with('/') => Ok(Some(rest.trim_start_matches('/').to_owned())),
            _ => Err(format!("{name:?}, which is not below {top:?}")),
        },
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a name which is no UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::tree::Links;
    use super::*;

    const PLAIN: Unpacking<'_> = Unpacking { strip: None, members: Members::All };

    struct Member<'a>(&'a str, EntryType, &'a str);

    fn archive(members: &[Member<'_>]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for Member(path, kind, content) in members {
            let mut header = tar::Header::new_ustar();
            // Past the checks of the library, which writes no such names.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            let link = matches!(kind, EntryType::Symlink | EntryType::Link);
            if link {
                header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
            }
            let body = if *kind == EntryType::Regular { content.as_bytes() } else { b"" };
            header.set_size(body.len() as u64);
            header.set_cksum();
            builder.append(&header, body).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(members: &[Member<'_>], how: Unpacking<'_>) -> (tempfile::TempDir, Result<(), String>) {
        let place = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(&place.path().join("top"), Links::Within, 1).unwrap();
        let done = unpack(&archive(members)[..], &mut tree, how);
        tree.finish().unwrap();
        (place, done)
    }

    #[test]
    fn no_member_is_written_outside_whatever_links_there_are() {
        let outside = tempfile::tempdir().unwrap();
        let out = outside.path().to_str().unwrap();
        let (place, done) = unpacked(
            &[
                Member("away", EntryType::Symlink, out),
                Member("away/file", EntryType::Regular, "x"),
                Member("up", EntryType::Symlink, "../.."),
                Member("up/file", EntryType::Regular, "x"),
            ],
            PLAIN,
        );
        // The links are followed with the directory as their root: what they name is made in it, or is an error.
        assert!(done.is_err() || place.path().join("top/file").exists());
        assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
        assert!(!place.path().join("file").exists());
        for bad in ["../file", "a/../../file"] {
            assert!(unpacked(&[Member(bad, EntryType::Regular, "x")], PLAIN).1.is_err(), "{bad}");
        }
        let absolute = unpacked(&[Member("/file", EntryType::Regular, "x")], PLAIN);
        assert!(absolute.0.path().join("top/file").exists());
    }

    #[test]
    fn a_link_to_a_file_of_the_host_is_not_a_second_name_of_it() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        let path = secret.path().to_str().unwrap();
        let (_place, done) = unpacked(&[Member("a", EntryType::Link, path)], PLAIN);
        assert!(done.is_err());
    }

    #[test]
    fn bits_devices_and_times_do_not_come_along() {
        let members = [
            Member("d", EntryType::Directory, ""),
            Member("d/run", EntryType::Regular, "x"),
            Member("d/null", EntryType::Char, ""),
        ];
        let (place, done) = unpacked(&members, PLAIN);
        done.unwrap();
        let found = fs::metadata(place.path().join("top/d/run")).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o755);
        let seconds = |m: &fs::Metadata| std::os::unix::fs::MetadataExt::mtime(m);
        assert_eq!(seconds(&found), 1);
        assert_eq!(seconds(&fs::metadata(place.path().join("top/d")).unwrap()), 1);
        assert!(!place.path().join("top/d/null").exists());
    }

    #[test]
    fn a_layer_takes_names_of_those_below_away_and_only_within() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        let mut tree = Tree::new(&top, Links::Within, 1).unwrap();
        let mut lay = |members: &[Member<'_>]| {
            for members_of in [Members::Gone, Members::Left] {
                let how = Unpacking { strip: None, members: members_of };
                unpack(&archive(members)[..], &mut tree, how).unwrap();
            }
        };
        let file = |path| Member(path, EntryType::Regular, "x");
        lay(&["a/one", "a/two", "b/c/three", "d/old", "e/old"].map(file));
        // Those of its own layer stay, in whichever order they come.
        lay(&[
            "a/.wh.one",
            ".wh.b",
            "d/new",
            "d/.wh..wh..opq",
            "e/old",
            "e/.wh.old",
            "f/.wh..wh..opq",
            "g/.wh.x",
        ]
        .map(file));
        tree.finish().unwrap();
        let there = |path: &str| top.join(path).exists();
        assert!(!there("a/one") && there("a/two") && !there("b") && !there("d/old"));
        assert!(there("d/new") && there("e/old") && !there("f") && !there("g"));
    }

    #[test]
    fn an_archive_that_a_limit_cuts_between_two_members_is_refused() {
        let bytes = archive(&[Member("a", EntryType::Directory, ""), Member("b", EntryType::Directory, "")]);
        for (limit, whole) in [(512, false), (1024, false), (bytes.len() as u64 + 1, true)] {
            let place = tempfile::tempdir().unwrap();
            let mut tree = Tree::new(place.path(), Links::Refused, 1).unwrap();
            assert_eq!(unpack_plain((&bytes[..]).take(limit), &mut tree, PLAIN).is_ok(), whole, "{limit}");
        }
    }

    #[test]
    fn a_member_beside_the_directory_that_is_stripped_is_refused() {
        let strip = Unpacking { strip: Some("a-1"), members: Members::All };
        let (place, done) = unpacked(&[Member("a-1/x", EntryType::Regular, "x")], strip);
        done.unwrap();
        assert!(place.path().join("top/x").exists());
        assert!(unpacked(&[Member("a-10/x", EntryType::Regular, "x")], strip).1.is_err());
    }

    #[test]
    fn gzip_is_told_by_its_bytes_and_other_bytes_are_no_archive() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&archive(&[Member("a", EntryType::Regular, "x")])).unwrap();
        let place = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(place.path(), Links::Refused, 1).unwrap();
        unpack(&packed.finish().unwrap()[..], &mut tree, PLAIN).unwrap();
        assert_eq!(fs::read(place.path().join("a")).unwrap(), b"x");
        assert!(unpack(&[7_u8; 2000][..], &mut tree, PLAIN).is_err());
    }

    #[test]
    fn where_links_are_refused_nothing_is_written_through_one() {
        let place = tempfile::tempdir().unwrap();
        symlink("/tmp", place.path().join("l")).unwrap();
        let mut tree = Tree::new(place.path(), Links::Refused, 1).unwrap();
        assert!(tree.write("l/x", false, &mut &b"x"[..]).is_err());
    }
}
