//! A file as the body of a request: read in pieces while it is sent, never as a whole in memory.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

/// How much is read at once. A few pieces wait in the channel.
const PIECE: usize = 64 << 10;

/// The first bytes of a file, on their way to the network.
pub(crate) struct FileBody {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl FileBody {
    /// Opens the file and starts to read it.
    pub(crate) async fn open(path: &Path, length: u64) -> io::Result<Self> {
        let mut file = tokio::fs::File::open(path).await?.take(length);
        let (sender, pieces) = mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece).await;
                let more = matches!(read, Ok(count) if count > 0);
                if let Ok(0) = read {
                    return;
                }
                if sender.send(read.map(|_| Bytes::from(piece))).await.is_err() || !more {
                    return;
                }
            }
        });
        Ok(Self { pieces, left: length })
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(context).map(|piece| match piece {
            Some(Ok(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(e)) => Some(Err(e)),
            None if self.left > 0 => {
                self.left = 0;
                Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter")))
            }
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
