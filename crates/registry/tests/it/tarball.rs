//! Tar archives made by hand, good and bad.

/// One member with its header.
pub(crate) fn member(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let size = if matches!(kind, b'1' | b'2' | b'5') { 0 } else { content.len() };
    let mut all = header(name, kind, link, &format!("{size:011o}\0"));
    all.extend_from_slice(content);
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

/// A header block with any size field.
pub(crate) fn header(name: &str, kind: u8, link: &str, size: &str) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..124 + size.len()].copy_from_slice(size.as_bytes());
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..263].copy_from_slice(b"ustar\0");
    sum(&mut block);
    block
}

/// Sets the sum of a header.
pub(crate) fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Files in an archive, with its end.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all: Vec<u8> = files.iter().flat_map(|(name, bytes)| member(name, b'0', "", bytes)).collect();
    all.resize(all.len() + 1024, 0);
    all
}
