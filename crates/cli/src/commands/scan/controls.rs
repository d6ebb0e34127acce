//! Controls as they are named on the command line.

use countersign_kubernetes::scan::Control;

/// Several controls in one argument.
#[derive(Debug, Clone)]
pub(super) struct Controls(pub(super) Vec<Control>);

/// Reads identifiers with commas between them.
pub(super) fn controls(text: &str) -> Result<Controls, String> {
    let known = Control::ALL.map(Control::id).join(", ");
    let control = |id: &str| {
        Control::parse(id).ok_or_else(|| format!("there is no control \"{id}\"; there are {known}"))
    };
    text.split(',').map(control).collect::<Result<_, _>>().map(Controls)
}

/// The help that lists all controls, and how much each matters.
pub(super) fn listed() -> String {
    let line = |control: Control| {
        format!("\n  {:<7}  {:<6}  {}", control.id(), control.severity().name(), control.name())
    };
    format!("The controls, with commas between them:{}", Control::ALL.map(line).concat())
}
