//! What maps add up: `@a = count()`, `@a[k] = hist(x)`.

use super::super::super::ast::*;
use super::super::super::config::Unstable;
use super::super::super::functions::Function;
use super::super::super::source::Span;
use super::super::super::types::{Aggregate, Name, Series, Type};
use super::Typer;
use super::join::Known;

/// The most steps of `lhist`.
const MOST_STEPS: i64 = 1000;

/// The most intervals of `tseries`.
const MOST_INTERVALS: i128 = 1_000_000;

impl Typer<'_, '_> {
    /// `@name = function(arguments)`.
    pub(super) fn aggregate(
        &mut self,
        name: &Name,
        function: Function,
        arguments: &mut [Expr],
        span: Span,
    ) {
        let mut signed = true;
        for argument in arguments.iter_mut() {
            if let ExprKind::Ident(_) = argument.kind {
                continue;
            }
            self.expr(argument);
            self.read(argument);
        }
        if let Some(value) = arguments.first_mut() {
            signed = value.ty.is_signed();
            if !value.ty.is_int() && !value.ty.is_none() {
                let (ty, function) = (self.shown(&value.ty), function.name());
                let message =
                    format!("{function}() only supports integer arguments ({ty} provided)");
                return self.error(span, message);
            }
            if value.ty.is_none() {
                return;
            }
        }
        let aggregate = match function {
            Function::Count => Ok(Aggregate::Count),
            Function::Sum => Ok(Aggregate::Sum { signed }),
            Function::Avg => Ok(Aggregate::Avg { signed }),
            Function::Min => Ok(Aggregate::Min { signed }),
            Function::Max => Ok(Aggregate::Max { signed }),
            Function::Stats => Ok(Aggregate::Stats { signed }),
            Function::Hist => self.hist(arguments),
            Function::Lhist => self.lhist(arguments),
            _ => self.tseries(arguments, signed),
        };
        match aggregate {
            Ok(aggregate) => self.know_aggregate(name, aggregate, span),
            Err(wrong) => self.error(span, wrong),
        }
    }

    fn know_aggregate(&mut self, name: &Name, new: Aggregate, span: Span) {
        let current = self.map(name, span).value.ty.clone();
        let joined = match &current {
            Type::None => Some(new),
            Type::Aggregate(old) => join(*old, new),
            _ => None,
        };
        match joined {
            Some(joined) => {
                let ty = Type::Aggregate(joined);
                self.know_value(name, Known { ty, ..Known::default() });
            }
            None => {
                let new_type = Type::Aggregate(new);
                let message = match (&current, new) {
                    (Type::Aggregate(Aggregate::Hist { .. }), Aggregate::Hist { .. }) => {
                        "Different bits in a single hist unsupported".to_owned()
                    }
                    (Type::Aggregate(Aggregate::Lhist { .. }), Aggregate::Lhist { .. }) => {
                        "Different lhist bounds in a single map unsupported".to_owned()
                    }
                    (Type::Aggregate(Aggregate::Tseries { .. }), Aggregate::Tseries { .. }) => {
                        "Different tseries bounds in a single map unsupported".to_owned()
                    }
                    _ => format!(
                        "Type mismatch for {name}: trying to assign value of type '{}' when map \
                         already has a type '{}'",
                        self.shown(&new_type),
                        self.shown(&current)
                    ),
                };
                self.error(span, message);
            }
        }
    }

    /// A number that must be known now.
    fn number(&mut self, argument: Option<&Expr>) -> Option<i128> {
        self.literal(argument?)?.as_int()
    }

    fn hist(&mut self, arguments: &[Expr]) -> Result<Aggregate, String> {
        let Some(bits) = arguments.get(1) else { return Ok(Aggregate::Hist { bits: 0 }) };
        let Some(bits) = self.number(Some(bits)) else {
            return Err("hist() expects a int literal (int provided)".to_owned());
        };
        match u8::try_from(bits) {
            Ok(bits @ 0..=5) => Ok(Aggregate::Hist { bits }),
            _ => Err(format!("hist: bits {bits} must be 0..5")),
        }
    }

    fn lhist(&mut self, arguments: &[Expr]) -> Result<Aggregate, String> {
        let mut bound = |at: usize, what: &str| -> Result<i64, String> {
            let value = self.number(arguments.get(at)).filter(|value| *value >= 0);
            let value = value.and_then(|value| i64::try_from(value).ok());
            value.ok_or_else(|| {
                format!("lhist: invalid {what} value (must be non-negative literal)")
            })
        };
        let (min, max, step) = (bound(1, "min")?, bound(2, "max")?, bound(3, "step")?);
        if step < 1 {
            return Err(format!("lhist() step must be >= 1 ({step} provided)"));
        }
        if min > max {
            return Err(format!(
                "lhist() min must be less than max (provided min {min} and max {max})"
            ));
        }
        let buckets = (max - min) / step;
        if buckets > MOST_STEPS {
            return Err(format!(
                "lhist() too many buckets, must be <= 1000 (would need {buckets})"
            ));
        }
        if max - min < step {
            let range = max - min;
            return Err(format!(
                "lhist() step is too large for the given range (provided step {step} for range \
                 {range})"
            ));
        }
        Ok(Aggregate::Lhist { min, max, step })
    }

    fn tseries(&mut self, arguments: &[Expr], signed: bool) -> Result<Aggregate, String> {
        match self.context.config.unstable_tseries {
            Unstable::Enable => {}
            Unstable::Warn => self.warn(
                Span::NOWHERE,
                "tseries is an unstable feature. Set the config flag to suppress this warning: \
                 unstable_tseries=enable",
            ),
            Unstable::Error => return Err("tseries is refused by unstable_tseries".to_owned()),
        }
        let mut bound = |at: usize, what: &str, least: i128, most: i128| {
            let value = self.number(arguments.get(at)).ok_or_else(|| {
                format!("tseries: invalid {what} value (must be non-negative literal)")
            })?;
            if value < least {
                return Err(format!("tseries() {what} must be >= {least} ({value} provided)"));
            }
            if value >= most {
                return Err(format!("tseries() {what} must be < {most} ({value} provided)"));
            }
            Ok(value)
        };
        let interval = bound(1, "interval_ns", 1, i128::from(i64::MAX))? as u64;
        let intervals = bound(2, "num_intervals", 1, MOST_INTERVALS)? as u32;
        let of = match arguments.get(3).map(|of| self.literal(of)) {
            None => Series::Last,
            Some(of) => match of.as_ref().and_then(Expr::as_str) {
                Some("avg") => Series::Avg,
                Some("max") => Series::Max,
                Some("min") => Series::Min,
                Some("sum") => Series::Sum,
                _ => {
                    return Err("tseries() expects one of the following aggregation functions: \
                                avg, max, min, sum"
                        .to_owned());
                }
            },
        };
        Ok(Aggregate::Tseries { of, interval, intervals, signed })
    }

    /// What a map adds up can't be put into another one.
    pub(super) fn not_from_map(&mut self, name: &Name, of: Aggregate, value: &Expr, span: Span) {
        if !self.is_final {
            return;
        }
        let call = match of {
            Aggregate::Count => "count()",
            Aggregate::Sum { .. } => "sum(retval)",
            Aggregate::Min { .. } => "min(retval)",
            Aggregate::Max { .. } => "max(retval)",
            Aggregate::Avg { .. } => "avg(retval)",
            Aggregate::Stats { .. } => "stats(arg2)",
            Aggregate::Hist { .. } => "hist(retval)",
            Aggregate::Lhist { .. } => "lhist(rand %10, 0, 10, 1)",
            Aggregate::Tseries { .. } => "tseries(rand %10, 10s, 1)",
        };
        let ty = Type::Aggregate(of);
        let shown = self.shown(&ty);
        let message = format!(
            "Map value '{shown}' cannot be assigned from one map to another. The function that \
             returns this type must be called directly e.g. `{name} = {call};`."
        );
        let other = self.context.sources.text(value.span).to_owned();
        let told = self.context.diagnostics.error(span, message);
        if ty.is_castable_aggregate() {
            told.hint(format!(
                "Add a cast to integer if you want the value of the aggregate, e.g. `{name} = \
                 (int64){other};`."
            ));
        }
    }
}

/// Of both, if they can be added up in one map.
fn join(old: Aggregate, new: Aggregate) -> Option<Aggregate> {
    use Aggregate::{Avg, Max, Min, Stats, Sum};
    Some(match (old, new) {
        _ if old == new => old,
        (Sum { .. }, Sum { .. }) => Sum { signed: true },
        (Min { .. }, Min { .. }) => Min { signed: true },
        (Max { .. }, Max { .. }) => Max { signed: true },
        (Avg { .. }, Avg { .. }) => Avg { signed: true },
        (Stats { .. }, Stats { .. }) => Stats { signed: true },
        _ => return None,
    })
}
