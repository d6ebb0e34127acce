//! Who says what holds of a workload: the scanner's controls, or the policies of the webhook.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::time::Instant;

use crate::admit::Admission;
use crate::scan::{Baseline, Exceptions, Report, Resource, ResourceResult, Scanner};

/// A judgement that is waited for.
pub type Judging<'a> = Pin<Box<dyn Future<Output = Option<ResourceResult>> + Send + 'a>>;

/// Says what holds of a workload.
pub trait Judge: Send + Sync + Debug {
    /// What holds, by evidence from `since` on. `None` while there is nothing to judge by.
    fn judge(&self, resource: Resource, since: Instant) -> Judging<'_>;

    /// Whether whole objects are looked at, and not their images alone.
    fn needs_objects(&self) -> bool;
}

fn only(report: Report) -> Option<ResourceResult> {
    report.results.into_iter().next()
}

/// What a scan judges with.
#[derive(Debug)]
struct Tools {
    scanner: Scanner,
    exceptions: Exceptions,
    baseline: Baseline,
}

/// Judges as a scan does: by controls, exceptions and a baseline, which may be replaced meanwhile.
#[derive(Debug)]
pub struct ScanJudge {
    tools: RwLock<Arc<Tools>>,
    /// Whose policies count, in the place of the scanner's own.
    admission: Option<Arc<Admission>>,
    whole: bool,
}

impl ScanJudge {
    /// By these.
    #[must_use]
    pub fn new(scanner: Scanner, exceptions: Exceptions, baseline: Baseline) -> Self {
        let whole = scanner.needs_objects();
        let tools = RwLock::new(Arc::new(Tools { scanner, exceptions, baseline }));
        Self { tools, admission: None, whole }
    }

    /// The same by the policies that this has, as they change; there is nothing to judge by before it has some.
    #[must_use]
    pub fn by_policies_of(self, admission: Arc<Admission>) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// By others from now on, with the same controls.
    pub fn replace(&self, scanner: Scanner, exceptions: Exceptions, baseline: Baseline) {
        let tools = Arc::new(Tools { scanner, exceptions, baseline });
        *self.tools.write().unwrap_or_else(PoisonError::into_inner) = tools;
    }
}

impl Judge for ScanJudge {
    fn judge(&self, resource: Resource, since: Instant) -> Judging<'_> {
        let tools = Arc::clone(&*self.tools.read().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move {
            let mut scanner = tools.scanner.anew(since);
            if let Some(admission) = &self.admission {
                scanner = scanner.by_policies(admission.policies()?);
            }
            let report = scanner.scan([resource]).await;
            only(tools.baseline.apply(tools.exceptions.apply(report)))
        })
    }

    fn needs_objects(&self) -> bool {
        self.whole
    }
}

/// Judges by the policies that hold at the webhook. What is exempt there is not judged.
#[derive(Debug)]
pub struct AdmissionJudge {
    admission: Arc<Admission>,
    scanner: Scanner,
}

impl AdmissionJudge {
    /// By these policies; the scanner has the control of policies, and asks where the webhook asks.
    #[must_use]
    pub const fn new(admission: Arc<Admission>, scanner: Scanner) -> Self {
        Self { admission, scanner }
    }
}

impl Judge for AdmissionJudge {
    fn judge(&self, resource: Resource, since: Instant) -> Judging<'_> {
        Box::pin(async move {
            let policies = self.admission.policies()?;
            let scanner = self.scanner.anew(since).by_policies(policies);
            let name = resource.name.clone();
            let nothing = ResourceResult { resource: name, controls: Vec::new() };
            if self.admission.exempts(&nothing.resource.namespace) {
                return Some(nothing);
            }
            Some(only(scanner.scan([resource]).await).unwrap_or(nothing))
        })
    }

    fn needs_objects(&self) -> bool {
        true
    }
}
