//! An object store in memory whose operations fail now and then, some of them after they had their effect.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::Random;

type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The store.
#[derive(Debug, Clone, Default)]
pub struct FailingObjects {
    objects: Arc<InMemory>,
    /// One in so many operations fails, chosen by these numbers.
    weather: Arc<Mutex<Option<(u64, Random)>>>,
}

impl fmt::Display for FailingObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects that fail")
    }
}

impl FailingObjects {
    /// From now on one in `rate` operations fails; `None`: none does.
    pub fn weather(&self, rate: Option<(u64, Random)>) {
        *self.weather.lock().unwrap() = rate;
    }

    /// Whether the next operation fails, and whether it has its effect all the same.
    fn fails(&self) -> Option<bool> {
        let mut weather = self.weather.lock().unwrap();
        let (rate, random) = weather.as_mut()?;
        (random.below(*rate) == 0).then(|| random.coin())
    }

    fn operate<'a, T: Send + 'a>(
        &'a self,
        operation: impl Future<Output = Result<T>> + Send + 'a,
    ) -> Doing<'a, T> {
        let fails = self.fails();
        Box::pin(async move {
            let error = || Error::Generic { store: "test", source: "simulated failure".into() };
            match fails {
                None => operation.await,
                Some(false) => Err(error()),
                Some(true) => {
                    operation.await?;
                    Err(error())
                }
            }
        })
    }
}

impl ObjectStore for FailingObjects {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Doing<'c, PutResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.operate(self.objects.put_opts(location, payload, options))
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: PutMultipartOptions,
    ) -> Doing<'c, Box<dyn MultipartUpload>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.objects.put_multipart_opts(location, options)
    }

    fn get_opts<'a, 'b, 'c>(&'a self, location: &'b Path, options: GetOptions) -> Doing<'c, GetResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.operate(self.objects.get_opts(location, options))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 'c>(&'a self, prefix: Option<&'b Path>) -> Doing<'c, ListResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.operate(self.objects.list_with_delimiter(prefix))
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: CopyOptions,
    ) -> Doing<'c, ()>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        self.objects.copy_opts(from, to, options)
    }
}
