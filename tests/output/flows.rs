//! Flows of packets.

use nettrace::model::View;

use super::fixtures::{forms, frame};

#[test]
fn of_top() {
    insta::assert_snapshot!(forms(&frame(View::Flows)));
}
