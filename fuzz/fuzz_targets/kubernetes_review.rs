//! Reviews of an API server, and the images of the objects in them: read or refused.
#![no_main]

use countersign_kubernetes::review::Review;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(review) = Review::from_json(bytes) {
        let _ = review.request.judged_images();
    }
});
