//! The config block, and the environment, which wins.

use super::super::ast::{Script, SettingValue};
use super::super::config::{self, NotTaken, Taken};
use super::super::source::Span;
use super::Context;
use crate::filter::nearest;

/// Sets what the program and the environment say.
pub(super) fn run(script: &mut Script, context: &mut Context<'_>) {
    for setting in std::mem::take(&mut script.config) {
        match context.config.set(&setting.name, &setting.value) {
            Ok(Taken::Set) => {}
            Ok(Taken::Former) => {
                let message = format!("{} is deprecated and has no effect", setting.name);
                context.diagnostics.warn(setting.span, message);
            }
            Err(error @ NotTaken::Unknown(_)) => {
                let told = context.diagnostics.error(setting.span, error.to_string());
                if let Some(near) = nearest(&setting.name, config::NAMES.iter().copied()) {
                    told.hint(format!("did you mean {near}?"));
                }
            }
            Err(error) => {
                context.diagnostics.error(setting.span, error.to_string());
            }
        }
    }
    for (name, value) in &context.options.environment {
        // Other programs may read variables of such names; those that aren't ours are theirs.
        if let Err(error @ NotTaken::Value { .. }) =
            context.config.set(name, &SettingValue::Text(value.clone()))
        {
            context.diagnostics.error(Span::NOWHERE, error.to_string());
        }
    }
}
