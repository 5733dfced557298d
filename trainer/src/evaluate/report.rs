//! The report: JSON for programs, and one HTML file for people, which needs nothing beside it.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::{Answers, Interval, McNemar, Metrics, Slice};

/// Everything that is reported of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The model: its name and digest.
    pub model: String,
    /// The numbers.
    pub metrics: Metrics,
    /// With 95 % confidence.
    pub intervals: BTreeMap<&'static str, Interval>,
    /// By camera and hour.
    pub slices: Vec<Slice>,
    /// The surest wrong answers, the surest first.
    pub mistakes: Vec<Mistake>,
}

/// A wrong answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mistake {
    /// The picture.
    pub id: String,
    /// What it is.
    pub truth: String,
    /// What the model says.
    pub answer: String,
    /// How sure it is.
    pub probability: f32,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The dataset: its name and digest.
    pub dataset: String,
    /// Which of its splits.
    pub split: String,
    /// The model, and the one that it is held against.
    pub models: Vec<Judged>,
    /// Whether one of two is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<McNemar>,
}

/// A picture for the sheet of mistakes: its media type and bytes.
pub type Picture = (String, Vec<u8>);

/// The surest wrong answers.
pub fn mistakes(answers: &Answers, most: usize) -> Vec<Mistake> {
    let mut wrong: Vec<_> = answers.rows.iter().filter(|row| !row.is_right()).collect();
    let sure = |row: &super::Row| row.probabilities[usize::from(row.best())];
    wrong.sort_by(|a, b| sure(b).total_cmp(&sure(a)).then_with(|| a.id.cmp(&b.id)));
    let name = |class: u16| answers.classes[usize::from(class)].to_string();
    let mistake = |row: &super::Row| Mistake {
        id: row.id.clone(),
        truth: name(row.truth),
        answer: name(row.best()),
        probability: sure(row),
    };
    wrong.into_iter().take(most).map(mistake).collect()
}

/// The HTML file; `pictures` are those of the first model's mistakes, by their items.
pub fn html(report: &Report, pictures: &BTreeMap<String, Picture>) -> String {
    let mut page = String::new();
    let title = format!(
        "{} on {}",
        report.models.iter().map(|of| &*of.model).collect::<Vec<_>>().join(" and "),
        report.dataset
    );
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style><h1>{0}</h1><p>Split <b>{1}</b>, {2} pictures.</p>",
        escaped(&title),
        escaped(&report.split),
        report.models.first().map_or(0, |of| of.metrics.count)
    );
    summary(&mut page, report);
    for judged in &report.models {
        let _ = write!(page, "<h2>{}</h2><div class=\"two\">", escaped(&judged.model));
        diagram(&mut page, &judged.metrics);
        confusion(&mut page, &judged.metrics);
        page.push_str("</div>");
        by_class(&mut page, &judged.metrics);
        by_slice(&mut page, &judged.slices);
    }
    if let Some(first) = report.models.first() {
        sheet(&mut page, &first.mistakes, pictures);
    }
    page.push_str("</html>\n");
    page
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--mark:#2563eb;--bad:#dc2626}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid var(--line)}\
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid var(--line)}\
td:first-child,th:first-child{text-align:left}.two{display:flex;flex-wrap:wrap;gap:2rem}\
.sheet{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:9rem;font-size:.8rem}\
figure img{width:9rem;height:9rem;object-fit:contain;image-rendering:pixelated;background:#8882}\
svg{max-width:100%;height:auto}svg text{fill:currentColor;font:11px system-ui,sans-serif}\
@media print{body{max-width:none}figure{break-inside:avoid}}";

fn summary(page: &mut String, report: &Report) {
    page.push_str("<table><tr><th>");
    for judged in &report.models {
        let _ = write!(page, "<th>{}", escaped(&judged.model));
    }
    type Figure = fn(&Metrics) -> Option<f64>;
    let rows: [(&str, &str, Figure); 7] = [
        ("Accuracy", "accuracy", |of| Some(of.accuracy)),
        ("Balanced accuracy", "balanced_accuracy", |of| Some(of.balanced_accuracy)),
        ("F1, macro", "f1_macro", |of| Some(of.f1_macro)),
        ("AUROC, macro", "", |of| of.auroc_macro),
        ("Calibration error", "calibration_error", |of| Some(of.calibration_error)),
        ("Log loss", "", |of| Some(of.log_loss)),
        ("Brier score", "", |of| Some(of.brier)),
    ];
    for (title, name, of) in rows {
        let _ = write!(page, "<tr><td>{title}");
        for judged in &report.models {
            let value = of(&judged.metrics).map_or("-".into(), |value| format!("{value:.4}"));
            let within =
                judged.intervals.get(name).map(|of| format!(" <small>{:.4} to {:.4}</small>", of.low, of.high));
            let _ = write!(page, "<td>{value}{}", within.unwrap_or_default());
        }
    }
    page.push_str("</table><p><small>Small: 95 % confidence, by bootstrap.</small></p>");
    if let Some(McNemar { first, second, p }) = report.comparison {
        let words = if p < 0.05 { "are not equally good" } else { "cannot be told apart" };
        let _ = write!(
            page,
            "<p>The first alone is right on {first} pictures, the second alone on {second}: they {words} (McNemar, p = {p:.4}).</p>"
        );
    }
}

/// How often an answer is right that is so sure.
fn diagram(page: &mut String, of: &Metrics) {
    const SIDE: f64 = 240.0;
    let _ = write!(
        page,
        "<figure style=\"width:auto\"><svg width=\"300\" height=\"290\" viewBox=\"-40 -10 300 290\" role=\"img\">"
    );
    let _ = write!(
        page,
        "<rect width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" stroke=\"var(--line)\"/>\
         <line x1=\"0\" y1=\"{SIDE}\" x2=\"{SIDE}\" y2=\"0\" stroke=\"var(--line)\"/>"
    );
    let most = of.reliability.iter().map(|bin| bin.0).max().unwrap_or(1).max(1) as f64;
    for (count, confidence, right) in of.reliability.iter().filter(|bin| bin.0 > 0) {
        let radius = 2.0 + 8.0 * (*count as f64 / most).sqrt();
        let (x, y) = (confidence * SIDE, (1.0 - right) * SIDE);
        let _ = write!(
            page,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"var(--mark)\" fill-opacity=\".7\">\
             <title>{count} answers, {confidence:.3} sure, {right:.3} right</title></circle>"
        );
    }
    for (at, label) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1")] {
        let (x, y) = (at * SIDE, (1.0 - at) * SIDE);
        let _ = write!(page, "<text x=\"{x}\" y=\"256\" text-anchor=\"middle\">{label}</text>");
        let _ = write!(page, "<text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", y + 4.0);
    }
    page.push_str("</svg><figcaption>Share right, by how sure; size: how many</figcaption></figure>");
}

fn confusion(page: &mut String, of: &Metrics) {
    let n = of.classes.len();
    let cell = (240.0 / n as f64).clamp(8.0, 48.0);
    let side = cell * n as f64;
    let label = 90.0;
    let _ = write!(
        page,
        "<figure style=\"width:auto\"><svg width=\"{0:.0}\" height=\"{0:.0}\" viewBox=\"-{label} -{label} {0:.0} {0:.0}\" role=\"img\">",
        side + label + 4.0
    );
    for (truth, row) in of.confusion.iter().enumerate() {
        let total = row.iter().sum::<u64>().max(1) as f64;
        for (answer, count) in row.iter().enumerate() {
            let (x, y, share) = (answer as f64 * cell, truth as f64 * cell, *count as f64 / total);
            let color = if truth == answer { "--mark" } else { "--bad" };
            let _ = write!(
                page,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell:.1}\" height=\"{cell:.1}\" fill=\"var({color})\" \
                 fill-opacity=\"{share:.3}\" stroke=\"var(--line)\"><title>{} taken for {}: {count}</title></rect>",
                escaped(&of.classes[truth].class),
                escaped(&of.classes[answer].class)
            );
        }
        let name = escaped(&short(&of.classes[truth].class));
        let middle = truth as f64 * cell + cell / 2.0;
        let _ = write!(page, "<text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", middle + 4.0);
        let _ = write!(page, "<text transform=\"translate({:.1} -6) rotate(-60)\">{name}</text>", middle + 4.0);
    }
    page.push_str("</svg><figcaption>Rows: what it is; columns: what is answered</figcaption></figure>");
}

fn by_class(page: &mut String, of: &Metrics) {
    page.push_str("<table><tr><th>Class<th>Pictures<th>Precision<th>Recall<th>F1<th>AUROC");
    for class in &of.classes {
        let area = class.auroc.map_or("-".into(), |area| format!("{area:.4}"));
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td>{:.4}<td>{:.4}<td>{:.4}<td>{area}",
            escaped(&class.class),
            class.count,
            class.precision,
            class.recall,
            class.f1
        );
    }
    page.push_str("</table>");
}

fn by_slice(page: &mut String, slices: &[Slice]) {
    if slices.is_empty() {
        return;
    }
    page.push_str("<table><tr><th>Slice<th>Pictures<th>Accuracy");
    for slice in slices {
        let _ =
            write!(page, "<tr><td>{} {}<td>{}<td>{:.4}", slice.by, escaped(&slice.value), slice.count, slice.accuracy);
    }
    page.push_str("</table>");
}

fn sheet(page: &mut String, mistakes: &[Mistake], pictures: &BTreeMap<String, Picture>) {
    if mistakes.is_empty() {
        return;
    }
    page.push_str("<h2>Surest mistakes</h2><div class=\"sheet\">");
    for mistake in mistakes {
        page.push_str("<figure>");
        if let Some((media_type, bytes)) = pictures.get(&mistake.id) {
            let _ =
                write!(page, "<img alt=\"\" src=\"data:{};base64,{}\">", escaped(media_type), STANDARD.encode(bytes));
        }
        let _ = write!(
            page,
            "<figcaption><b>{}</b> taken for <b>{}</b> ({:.3})<br>{}</figcaption></figure>",
            escaped(&mistake.truth),
            escaped(&mistake.answer),
            mistake.probability,
            escaped(&short(&mistake.id))
        );
    }
    page.push_str("</div>");
}

fn short(text: &str) -> String {
    if text.chars().count() <= 16 { text.into() } else { text.chars().take(15).chain(['…']).collect() }
}

/// As text of HTML, and as a value in double quotes.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut page, c| {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            c => page.push(c),
        }
        page
    })
}
