//! What pages for people say, as markup: a certificate in plain words, and how a verification went.
//!
//! Pure, so that a file is verified by the same code with the same words on a server and in a browser, where it runs compiled
//! to WebAssembly (`browser/`). What strangers wrote goes through [`escaped`] and is never markup.

mod answer;
mod asked;
mod certificate;
mod markup;
mod trust;

pub use answer::{Place, answer, problem};
pub use asked::Asked;
pub use certificate::{Standing, card, name};
pub use countersign_slsa::text::html as escaped;
pub use markup::{fact, fact_of, lines};
pub use trust::{Trust, TrustError, document};
