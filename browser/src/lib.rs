//! What the script of the page that verifies calls.
//!
//! The memory is passed by hand: the script asks for a place of some length ([`countersign_input`]), writes there, and calls
//! what reads it; then it reads the result from [`countersign_output`]. All numbers are addresses and lengths in bytes, and
//! what a function returns otherwise is 1 for done and 0 for not, with the reason as output. The module imports nothing.

use std::cell::RefCell;

use countersign_crypto::{HashAlgorithm, Hasher};
use countersign_web::{Asked, Place, Trust, answer, problem};
use jiff::Timestamp;

/// The largest piece that is taken at once.
const MAX_INPUT: usize = 16 * 1024 * 1024;

#[derive(Default)]
struct Engine {
    input: Vec<u8>,
    output: Vec<u8>,
    hashers: Vec<Hasher>,
    trust: Option<Trust>,
}

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::default();
}

impl Engine {
    fn say(&mut self, result: Result<String, String>) -> u32 {
        let done = u32::from(result.is_ok());
        self.output = result.unwrap_or_else(|why| why).into_bytes();
        done
    }
}

fn with<T>(work: impl FnOnce(&mut Engine) -> T) -> T {
    ENGINE.with_borrow_mut(work)
}

/// A place for input of this length; 0 when it is too long.
#[expect(unsafe_code, reason = "the name is what the script calls")]
#[unsafe(no_mangle)]
pub extern "C" fn countersign_input(length: usize) -> *mut u8 {
    with(|engine| {
        if length > MAX_INPUT {
            return std::ptr::null_mut();
        }
        engine.input.clear();
        engine.input.resize(length, 0);
        engine.input.as_mut_ptr()
    })
}

/// Where the last output is.
#[expect(unsafe_code, reason = "the name is what the script calls")]
#[unsafe(no_mangle)]
pub extern "C" fn countersign_output() -> *const u8 {
    with(|engine| engine.output.as_ptr())
}

/// How long it is.
#[expect(unsafe_code, reason = "the name is what the script calls")]
#[unsafe(no_mangle)]
pub extern "C" fn countersign_output_length() -> usize {
    with(|engine| engine.output.len())
}

/// Begins the digests of a file.
#[expect(unsafe_code, reason = "the name is what the script calls")]
#[unsafe(no_mangle)]
pub extern "C" fn countersign_digest_begin() {
    with(|engine| engine.hashers = HashAlgorithm::ALL.map(Hasher::new).into());
}

/// Adds the input to them.
#[expect(unsafe_code, reason = "the name is what the script calls")]
#[unsafe(no_mangle)]
pub extern "C" fn countersign_digest_add() {
    with(|engine| engine.hashers.iter_mut().for_each(|hasher| hasher.update(&engine.input)));
}

/// Ends them: the output is one digest a line.
#[expect(unsafe_code, reason = "the name is what the script calls")]
#[unsafe(no_mangle)]
pub extern "C" fn countersign_digest_end() {
    with(|engine| {
        let digests = engine.hashers.drain(..).map(|hasher| hasher.finish().to_string());
        let lines: Vec<String> = digests.collect();
        engine.say(Ok(lines.join("\n")));
    });
}

/// Reads what the instance trusts from the input, `/verify/trust.json`.
#[expect(unsafe_code, reason = "the name is what the script calls")]
#[unsafe(no_mangle)]
pub extern "C" fn countersign_trust() -> u32 {
    with(|engine| {
        // Nothing is verified with what was trusted before.
        engine.trust = None;
        match Trust::from_json(&engine.input) {
            Ok(trust) => {
                engine.trust = Some(trust);
                engine.say(Ok(String::new()))
            }
            Err(error) => engine.say(Err(problem(&error.to_string()))),
        }
    })
}

/// Verifies what the input asks, a form as browsers send it, at this time in seconds since 1970. The output is markup.
#[expect(unsafe_code, reason = "the name is what the script calls")]
#[unsafe(no_mangle)]
pub extern "C" fn countersign_verify(seconds: i64) -> u32 {
    with(|engine| {
        let result = match (&engine.trust, Timestamp::from_second(seconds)) {
            (Some(trust), Ok(now)) => answer(&Asked::read(&engine.input), trust, now, Place::Browser),
            (None, _) => Err("There is no trust root to verify with.".into()),
            (_, Err(error)) => Err(format!("The time of this computer cannot be: {error}.")),
        };
        engine.say(result.map_err(|why| problem(&why)))
    })
}
