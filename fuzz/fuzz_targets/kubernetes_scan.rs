//! What a scan reads: manifests, settings, exceptions, baselines. Every image that is read stands where it is said to stand.
#![no_main]

use countersign_kubernetes::scan::{
    Baseline, Exceptions, RepositoryPrefix, Running, Settings, locate, read_resources,
};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Baseline::read(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Settings::read(text);
    let _ = Exceptions::read(text, Timestamp::UNIX_EPOCH);
    if let Ok(prefix) = RepositoryPrefix::parse(text) {
        assert_eq!(RepositoryPrefix::parse(&prefix.to_string()), Ok(prefix));
    }
    let mut running = Running::new(true, true);
    let mut resources = read_resources(text, "seed").unwrap_or_default();
    locate(text, &mut resources);
    for resource in resources {
        if let Some(object) = &resource.object {
            let _ = running.take(object.clone());
        }
        for (path, line) in &resource.lines {
            let images = resource.images.as_deref().unwrap_or_default();
            let image = images.iter().find(|placed| placed.path == *path).expect("the image of a line");
            let at = text.lines().nth(usize::try_from(line - 1).unwrap()).expect("a line that is there");
            assert!(at.contains(&image.image), "the line names the image");
        }
        let object = resource.object.unwrap_or_default();
        for placed in resource.images.unwrap_or_default() {
            let pointer = format!("/{}", placed.path.replace('[', "/").replace(']', "").replace('.', "/"));
            assert_eq!(object.pointer(&pointer).and_then(|image| image.as_str()), Some(placed.image.as_str()));
        }
    }
    for resource in running.rest() {
        assert!(resource.images.is_ok_and(|images| !images.is_empty()));
    }
});
