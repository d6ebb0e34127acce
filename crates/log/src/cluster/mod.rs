//! A log past one machine: any number of front ends, one sequencer.
//!
//! ```text
//!  append ──► relay ──► queue (database) ──► holder of the lease ──► sequencer, as on one machine
//!               ▲                                  │
//!               └──── index of the entry ◄─────────┘
//!          follower: tree head (database), tiles (object store), checked against the signed root
//! ```
//!
//! Every process does the same: it hands its entries to the queue, follows the tree, and asks for the lease; who has
//! it sequences. What a front end tells its clients it has read from the tree itself, so a wrong answer in the queue
//! is found. An entry is in the queue in the form it has at index 0; a leaf of static CT is moved to its index by the
//! holder.

mod follower;
mod form;
mod freeze;
mod holder;
mod relay;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};

use countersign_clock::Clock;
use countersign_crypto::Signer;
use tokio::sync::watch;

use crate::log::KeyOf;
use crate::recovery::read_params;
use crate::sequencer::Message;
use crate::storage::database::Event;
use crate::storage::{Distributed, Storage};
use crate::{Log, LogError, Options};
use follower::Follower;
pub use freeze::{Frozen, freeze, successor_of, thaw};
use holder::Holder;
use relay::Relay;

impl Log {
    /// A follower that has the newest tree.
    fn follow(
        storage: Arc<dyn Storage>,
        signers: Vec<Arc<dyn Signer>>,
        key_of: Option<KeyOf>,
    ) -> Result<Follower, LogError> {
        let params = read_params(storage.as_ref())?;
        let sign = |signer| params.format.signer(&params.origin, signer);
        let signers = signers.into_iter().map(sign).collect::<Result<Vec<_>, _>>()?;
        let mut follower = Follower::new(storage, params, signers, key_of);
        follower.refresh()?;
        Ok(follower)
    }

    /// Opens a log that was rotated out, to be read: it asks for no lock and starts no thread, so any number of processes
    /// may. Of a log that others write it shows the tree of this moment.
    ///
    /// # Errors
    /// As [`Log::join`].
    pub fn open_to_read(
        storage: &Arc<dyn Storage>,
        key_of: Option<KeyOf>,
        signers: Vec<Arc<dyn Signer>>,
    ) -> Result<Self, LogError> {
        let follower = Self::follow(Arc::clone(storage), signers, key_of)?;
        // Nobody takes entries at the other end.
        let (queue, _) = sync_channel(0);
        let (_, ended) = watch::channel(true);
        Ok(Self::assemble(Arc::clone(follower.shared()), queue, ended))
    }

    /// Serves a log of the distributed store in this process, beside others that do the same. The signers are those
    /// of [`Log::open`]; whichever process holds the lease signs with them.
    ///
    /// This blocks while it reads the newest tree head. The lease is asked for in the background; until somebody has
    /// it, appends wait. [`Log::shutdown`] gives it up.
    ///
    /// # Errors
    /// [`LogError::Corrupt`], [`LogError::NoLockRecord`], [`LogError::Signers`]; [`LogError::Io`] when the database or
    /// the object store is away.
    pub fn join(
        storage: &Distributed,
        options: Options,
        signers: Vec<Arc<dyn Signer>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LogError> {
        let reading = Arc::new(storage.without_lease());
        let follower = Self::follow(reading, signers.clone(), options.key_of.clone())?;
        let shared = Arc::clone(follower.shared());

        let (queue, messages) = sync_channel(options.queue);
        let (to_holder, holder_wakes) = channel();
        let wakes = queue.clone();
        // A channel that is full has something in it that wakes as well.
        let answered = Box::new(move || {
            let _ = wakes.try_send(Message::Wake);
        });
        storage.database().listen(storage.log(), Event::Answered, answered);
        let queued = to_holder.clone();
        storage.database().listen(
            storage.log(),
            Event::Queued,
            Box::new(move || {
                let _ = queued.send(());
            }),
        );

        let stop = Arc::new(AtomicBool::new(false));
        let relay = Relay::new(storage.without_lease(), follower, messages, options.queue);
        let holder = Holder {
            storage: storage.without_lease(),
            front: Arc::clone(&shared),
            options,
            signers,
            clock,
            wakes: holder_wakes,
            stop: Arc::clone(&stop),
        };
        let (end, ended) = watch::channel(false);
        let start = |name: &str| std::thread::Builder::new().name(name.into());
        let starting = || LogError::io("starting the log's threads");
        let holder = start("log-holder").spawn(move || holder.run()).map_err(starting())?;
        start("log-relay")
            .spawn(move || {
                relay.run();
                // Nothing of ours waits any more: somebody else may go on.
                stop.store(true, Ordering::Release);
                let _ = to_holder.send(());
                let _ = holder.join();
                end.send_replace(true);
            })
            .map_err(starting())?;
        Ok(Self::assemble(shared, queue, ended))
    }
}
