//! ZIP archives of strangers, as far as the modules of Go need them: read by their directory, each member whole or not at all. What two readers
//! could read differently (two members of one name, bytes that nothing names, other names before the bytes) is refused.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};

use flate2::bufread::DeflateDecoder;

/// The largest archive, and the most bytes that come out of one: as Go has it.
pub(super) const MAX_ARCHIVE: u64 = 500 << 20;
/// The most bytes of the directory.
const MAX_DIRECTORY: u64 = 32 << 20;
/// How many times its length a member can be at most, by what deflate is: whoever says more does not tell the truth.
const MAX_RATIO: u64 = 1032;
/// The lengths of the fixed parts: of the end, of an entry of the directory, and of what stands before a member.
const END: usize = 22;
const ENTRY: usize = 46;
const LOCAL: usize = 30;
/// Bits of an entry which say that it is encrypted, or patches something.
const REFUSED_FLAGS: u16 = 0b10_0000_0110_0001;

/// A member, as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its name, which may be any: nothing is written by it.
    pub(super) name: String,
    /// Its length.
    pub(super) length: u64,
    packed: u64,
    deflated: bool,
    at: u64,
}

/// An archive whose directory was read.
#[derive(Debug)]
pub(super) struct Archive<R> {
    from: BufReader<R>,
    /// Where the directory begins, and the members end.
    end: u64,
    members: Vec<Member>,
}

/// Numbers in a part of fixed length; a number beyond it is none.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn number(&self, at: usize, length: usize) -> Result<u64, String> {
        let bytes = at.checked_add(length).and_then(|end| self.0.get(at..end)).ok_or("it ends early")?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&self, at: usize) -> Result<usize, String> {
        self.number(at, 2).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    fn begins(&self, kind: &[u8; 4]) -> Result<(), String> {
        if self.0.starts_with(kind) { Ok(()) } else { Err("it is no ZIP archive, or a damaged one".into()) }
    }
}

fn bytes(from: &mut impl Read, length: usize) -> Result<Vec<u8>, String> {
    let mut read = vec![0; length];
    from.read_exact(&mut read).map_err(|e| e.to_string())?;
    Ok(read)
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the directory.
    pub(super) fn new(mut from: R) -> Result<Self, String> {
        let length = from.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
        if length > MAX_ARCHIVE {
            return Err(format!("expected at most {MAX_ARCHIVE} bytes, found {length}"));
        }
        // No comment behind it, so that there is one place where it can be.
        let last = length.checked_sub(END as u64).ok_or("it is no ZIP archive")?;
        let mut from = BufReader::new(from);
        from.seek(SeekFrom::Start(last)).map_err(|e| e.to_string())?;
        let end = bytes(&mut from, END)?;
        let end = Fields(&end);
        end.begins(b"PK\x05\x06")?;
        let (count, size, start) = (end.number(10, 2)?, end.number(12, 4)?, end.number(16, 4)?);
        if count == 0xffff || start == 0xffff_ffff {
            return Err("it has more than 65534 members, or more than 4 GiB, which is the limit".into());
        }
        let whole = end.number(4, 4)? == 0 && end.number(8, 2)? == count && end.number(20, 2)? == 0;
        if !whole || start.checked_add(size) != Some(last) {
            return Err("its directory is not what stands before its end".into());
        }
        if size > MAX_DIRECTORY {
            return Err(format!(
                "its directory has {size} bytes, more than {MAX_DIRECTORY}, which is the limit"
            ));
        }
        from.seek(SeekFrom::Start(start)).map_err(|e| e.to_string())?;
        let mut directory = from.by_ref().take(size);
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(Member::read(&mut directory)?);
        }
        if directory.limit() != 0 {
            return Err("its directory has more than its members".into());
        }
        let archive = Self { from, end: start, members };
        archive.check()?;
        Ok(archive)
    }

    /// That its members are there once each, and not more than there is room for.
    fn check(&self) -> Result<(), String> {
        let names: BTreeSet<_> = self.members.iter().map(|member| &member.name).collect();
        if names.len() != self.members.len() {
            return Err("two members have one name".into());
        }
        let sum = |number: fn(&Member) -> u64| self.members.iter().map(number).fold(0, u64::saturating_add);
        if sum(|member| member.packed) > self.end {
            return Err("its members lie over each other".into());
        }
        if sum(|member| member.length) > MAX_ARCHIVE {
            return Err(format!("more than {MAX_ARCHIVE} bytes would come out of it, which is the limit"));
        }
        Ok(())
    }

    /// Its members, in the directory's order.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Reads a member to its end, and gives what the reader makes of it. It counts only when this succeeds.
    pub(super) fn read<T>(
        &mut self,
        member: &Member,
        work: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<T, String> {
        let wrong = |message: String| format!("{:?}: {message}", member.name);
        self.from.seek(SeekFrom::Start(member.at)).map_err(|e| wrong(e.to_string()))?;
        let fixed = bytes(&mut self.from, LOCAL).map_err(wrong)?;
        let local = Fields(&fixed);
        local.begins(b"PK\x03\x04").map_err(wrong)?;
        let (name, extra) = (local.length(26)?, local.length(28)?);
        let method = if member.deflated { 8 } else { 0 };
        let same = local.number(8, 2)? == method
            && bytes(&mut self.from, name).map_err(wrong)? == member.name.as_bytes();
        if !same {
            return Err(wrong("the directory and the member differ".into()));
        }
        let before = LOCAL as u64 + name as u64 + extra as u64;
        let end = [before, member.packed].into_iter().try_fold(member.at, u64::checked_add);
        if end.is_none_or(|end| end > self.end) {
            return Err(wrong("it goes on behind the members".into()));
        }
        self.from
            .seek_relative(i64::try_from(extra).unwrap_or(i64::MAX))
            .map_err(|e| wrong(e.to_string()))?;
        let packed = self.from.by_ref().take(member.packed);
        let done = if member.deflated {
            whole(DeflateDecoder::new(packed), member.length, work)
        } else {
            whole(packed, member.length, work)
        };
        done.map_err(wrong)
    }
}

/// Gives a reader exactly so many bytes; there must be no fewer, and no more.
fn whole<T>(
    from: impl Read,
    length: u64,
    work: impl FnOnce(&mut dyn Read) -> io::Result<T>,
) -> Result<T, String> {
    let mut body: Take<_> = from.take(length);
    let done = work(&mut body).map_err(|e| e.to_string())?;
    io::copy(&mut body, &mut io::sink()).map_err(|e| e.to_string())?;
    let missing = body.limit();
    let mut rest = body.into_inner();
    if missing > 0 || io::copy(&mut rest.by_ref().take(1), &mut io::sink()).map_err(|e| e.to_string())? > 0 {
        return Err(format!("expected {length} bytes, found another number of them"));
    }
    Ok(done)
}

impl Member {
    /// Reads an entry of the directory.
    fn read(directory: &mut impl Read) -> Result<Self, String> {
        let fixed = bytes(directory, ENTRY)?;
        let entry = Fields(&fixed);
        entry.begins(b"PK\x01\x02")?;
        let name = String::from_utf8(bytes(directory, entry.length(28)?)?)
            .map_err(|_| "a name which is no UTF-8 text".to_owned())?;
        let more = entry.number(30, 2)? + entry.number(32, 2)?;
        if io::copy(&mut directory.take(more), &mut io::sink()).map_err(|e| e.to_string())? != more {
            return Err("it ends early".into());
        }
        let wrong = |message: &str| Err(format!("{name:?}: {message}"));
        let deflated = match entry.number(10, 2)? {
            0 => false,
            8 => true,
            _ => return wrong("expected what is deflated or stored, found another method"),
        };
        if entry.number(8, 2)? & u64::from(REFUSED_FLAGS) != 0 {
            return wrong("it is encrypted, or no whole file");
        }
        let (packed, length, at) = (entry.number(20, 4)?, entry.number(24, 4)?, entry.number(42, 4)?);
        if entry.number(34, 2)? != 0 || [packed, length, at].contains(&0xffff_ffff) {
            return wrong("it is not in this archive alone, or larger than 4 GiB");
        }
        if length > packed.saturating_mul(MAX_RATIO) || (!deflated && length != packed) {
            return wrong("so much cannot come out of so few bytes");
        }
        Ok(Self { name, length, packed, deflated, at })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;

    /// An archive of these members, the odd ones deflated.
    pub(in crate::control) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (number, (name, content)) in members.iter().enumerate() {
            let method = if number % 2 == 1 { 8_u16 } else { 0 };
            let packed = if method == 8 {
                let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                packer.write_all(content).unwrap();
                packer.finish().unwrap()
            } else {
                content.to_vec()
            };
            let at = u32::try_from(out.len()).unwrap();
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
            let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
            // Version, flags, method, time and date, checksum, lengths.
            let facts = |version: &[u8]| {
                let method = method.to_le_bytes();
                [
                    version,
                    &[0, 0],
                    &method,
                    &[0; 8],
                    &length(&packed),
                    &length(content),
                    &name_length,
                    &[0, 0],
                ]
                .concat()
            };
            out.extend([b"PK\x03\x04", &facts(&[20, 0])[..], name.as_bytes(), &packed].concat());
            let rest = [&[0; 10][..], &at.to_le_bytes(), name.as_bytes()].concat();
            directory.extend([b"PK\x01\x02", &facts(&[20, 3, 20, 0])[..], &rest].concat());
        }
        let (at, size) = (u32::try_from(out.len()).unwrap(), u32::try_from(directory.len()).unwrap());
        let count = u16::try_from(members.len()).unwrap().to_le_bytes();
        out.extend(&directory);
        out.extend(
            [b"PK\x05\x06", &[0; 4][..], &count, &count, &size.to_le_bytes(), &at.to_le_bytes(), &[0, 0]]
                .concat(),
        );
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut archive = Archive::new(Cursor::new(bytes))?;
        let members = archive.members().to_vec();
        let content = |member: &Member| {
            let mut content = Vec::new();
            archive.read(member, |from| from.read_to_end(&mut content))?;
            Ok((member.name.clone(), content))
        };
        members.iter().map(content).collect()
    }

    #[test]
    fn members_are_read_whole_stored_or_deflated() {
        let long = vec![7; 100_000];
        let members = [("a", &b"one"[..]), ("b/c", &long), ("empty", b""), ("also", b"")];
        let expected: Vec<_> = members.iter().map(|(n, c)| ((*n).to_owned(), c.to_vec())).collect();
        assert_eq!(read(&archive(&members)).unwrap(), expected);
        assert_eq!(read(&archive(&[])).unwrap(), []);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let good = archive(&[("a", b"one"), ("b", b"two")]);
        let end = good.len() - END;
        let entry = good.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        let changed = |at: usize, to: &[u8]| {
            let mut bytes = good.clone();
            bytes.splice(at..at + to.len(), to.iter().copied());
            bytes
        };
        for (bad, why) in [
            (archive(&[("a", b"one"), ("a", b"two")]), "one name"),
            ([b"#!", &good[..]].concat(), "before its end"),
            ([&good[..], b"x"].concat(), "no ZIP"),
            (changed(end + 10, &[1]), "before its end"),
            ([&changed(end + 8, &[1, 0, 1, 0])[..]].concat(), "more than its members"),
            (changed(end + 4, &[1]), "before its end"),
            (changed(end + 10, &[0xff, 0xff]), "65534"),
            (changed(entry + 8, &[1]), "encrypted"),
            (changed(entry + 10, &[12]), "another method"),
            (changed(entry + 24, &[4]), "so few bytes"),
            (changed(entry + 42, &[1]), "no ZIP"),
            (changed(entry + 46, b"c"), "differ"),
            (changed(entry + 46, b"b"), "one name"),
            (changed(entry + 46, b"\xff"), "UTF-8"),
            (changed(8, &[8]), "differ"),
            (good[..good.len() - 1].to_vec(), "no ZIP"),
            (Vec::new(), "no ZIP"),
        ] {
            let error = read(&bad).expect_err(why);
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn lengths_that_are_not_true_are_refused() {
        let good = archive(&[("a", b"one"), ("b", &[7; 5000])]);
        let entry = good.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
        for (length, why) in [
            (4999_u32, "another number"),
            (5001, "another number"),
            (499 << 20, "so few bytes"),
            (u32::MAX, "4 GiB"),
        ] {
            let mut bad = good.clone();
            bad.splice(entry + 24..entry + 28, length.to_le_bytes());
            let error = read(&bad).expect_err(why);
            assert!(error.contains(why), "{length}: {error}");
        }
    }

    #[test]
    fn members_that_lie_over_each_other_make_no_much_out_of_little() {
        let body = vec![7; 1000];
        let names: Vec<String> = (0..10).map(|n| format!("{n}")).collect();
        let members: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &body[..])).collect();
        let good = archive(&members);
        let start = good.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        // The directory alone, before it the first member.
        let mut few = [&good[..LOCAL + 1 + 1000], &good[start..]].concat();
        let at = few.len() - 6;
        few.splice(at..at + 4, u32::try_from(LOCAL + 1001).unwrap().to_le_bytes());
        assert!(read(&few).unwrap_err().contains("over each other"));
    }
}
