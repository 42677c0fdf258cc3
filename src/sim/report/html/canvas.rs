//! The few marks that a plot is made of, as SVG. Every string is escaped here and every number is finite.

/// Text for HTML and SVG, in content and in quoted attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in HTML, escaped or not.
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A coordinate: a tenth of a pixel is finer than anybody sees.
pub(crate) fn px(x: f64) -> String {
    let x = if x.is_finite() { (x * 10.0).round() / 10.0 + 0.0 } else { 0.0 };
    x.to_string()
}

/// About how wide a text is at the size of labels.
pub(crate) fn width(text: &str) -> f64 {
    6.5 * text.chars().count() as f64
}

/// A drawing that grows.
#[derive(Debug)]
pub(crate) struct Canvas {
    pub(crate) width: f64,
    pub(crate) height: f64,
    body: String,
}

impl Canvas {
    pub(crate) const fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub(crate) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let (x1, y1, x2, y2) = (px(x1), px(y1), px(x2), px(y2));
        self.body.push_str(&format!(r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#));
        self.body.push('\n');
    }

    pub(crate) fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let (x, y, text) = (px(x), px(y), escaped(text));
        self.body.push_str(&format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>\n"));
    }

    /// A rectangle that says `hint` when it is pointed at.
    pub(crate) fn rect(&mut self, class: &str, (x, y): (f64, f64), (w, h): (f64, f64), hint: &str) {
        let (x, y, w, h) = (px(x), px(y), px(w.max(0.0)), px(h.max(0.0)));
        let open = format!(r#"<rect class="{class}" x="{x}" y="{y}" width="{w}" height="{h}""#);
        self.hinted(&open, "rect", hint);
    }

    /// A dot that says `hint` when it is pointed at.
    pub(crate) fn dot(&mut self, class: &str, (x, y): (f64, f64), r: f64, hint: &str) {
        let (x, y, r) = (px(x), px(y), px(r));
        self.hinted(&format!(r#"<circle class="{class}" cx="{x}" cy="{y}" r="{r}""#), "circle", hint);
    }

    fn hinted(&mut self, open: &str, tag: &str, hint: &str) {
        self.body.push_str(open);
        if hint.is_empty() {
            self.body.push_str("/>\n");
        } else {
            self.body.push_str(&format!("><title>{}</title></{tag}>\n", escaped(hint)));
        }
    }

    /// A line through the points of each run of them. A run of one point is a dot as thick as the line.
    pub(crate) fn polyline(&mut self, class: &str, runs: &[Vec<(f64, f64)>]) {
        let mut d = String::new();
        for run in runs {
            for (at, (x, y)) in run.iter().enumerate() {
                d.push_str(&format!("{}{} {}", if at == 0 { 'M' } else { 'L' }, px(*x), px(*y)));
            }
            if run.len() == 1 {
                d.push_str("h.01");
            }
        }
        if !d.is_empty() {
            self.body.push_str(&format!("<path class=\"line {class}\" d=\"{d}\"/>\n"));
        }
    }

    /// What lies between two lines over the same places: (x, upper y, lower y).
    pub(crate) fn area(&mut self, class: &str, band: &[(f64, f64, f64)]) {
        if band.len() < 2 {
            return;
        }
        let mut d = String::new();
        for (at, (x, upper, _)) in band.iter().enumerate() {
            d.push_str(&format!("{}{} {}", if at == 0 { 'M' } else { 'L' }, px(*x), px(*upper)));
        }
        for (x, _, lower) in band.iter().rev() {
            d.push_str(&format!("L{} {}", px(*x), px(*lower)));
        }
        self.body.push_str(&format!("<path class=\"{class}\" d=\"{d}Z\"/>\n"));
    }

    /// The drawing, with its name and a description for those who do not see it.
    pub(crate) fn finished(self, id: &str, title: &str, description: &str) -> String {
        let (w, h) = (px(self.width), px(self.height));
        format!(
            "<svg viewBox=\"0 0 {w} {h}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n\
             <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n{}</svg>\n",
            escaped(title),
            escaped(description),
            self.body
        )
    }
}

/// Finds room for labels, so that none covers a dot or another label.
#[derive(Debug)]
pub(crate) struct Room {
    area: Box4,
    taken: Vec<Box4>,
}

/// Left, top, right, bottom.
type Box4 = [f64; 4];

/// Where a label goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its left end.
    pub(crate) x: f64,
    /// Its baseline.
    pub(crate) y: f64,
    /// So far from its dot that a line must say whose it is.
    pub(crate) far: bool,
}

impl Room {
    pub(crate) const fn new(area: Box4) -> Self {
        Self { area, taken: Vec::new() }
    }

    /// Nothing may be written there.
    pub(crate) fn take(&mut self, x: f64, y: f64, r: f64) {
        self.taken.push([x - r, y - r, x + r, y + r]);
    }

    /// Nothing may be written across that line.
    pub(crate) fn take_line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        const STEPS: u32 = 40;
        for step in 0..=STEPS {
            let part = f64::from(step) / f64::from(STEPS);
            self.take(x1 + part * (x2 - x1), y1 + part * (y2 - y1), 2.0);
        }
    }

    /// Beside the dot if there is room, else farther and farther away.
    pub(crate) fn place(&mut self, (x, y): (f64, f64), r: f64, width: f64) -> Place {
        let near = r + 5.0;
        let mut places = Vec::new();
        for (ring, gap) in [near, 18.0, 30.0, 44.0, 60.0, 78.0, 100.0].into_iter().enumerate() {
            let far = ring > 0;
            let (left, right, middle) = (x - gap - width, x + gap, x - width / 2.0);
            for (x, y) in [
                (right, y + 4.0),
                (left, y + 4.0),
                (right, y - 0.6 * gap),
                (right, y + 8.0 + 0.6 * gap),
                (middle, y - gap),
                (middle, y + 10.0 + gap),
                (left, y - 0.6 * gap),
                (left, y + 8.0 + 0.6 * gap),
            ] {
                places.push(Place { x, y, far });
            }
        }
        let frame = |p: &Place| [p.x - 2.0, p.y - 11.0, p.x + width + 2.0, p.y + 3.5];
        let inside = |b: &Box4| {
            b[0] >= self.area[0] && b[1] >= self.area[1] && b[2] <= self.area[2] && b[3] <= self.area[3]
        };
        let free = |b: &Box4| {
            self.taken.iter().all(|t| b[2] <= t[0] || b[0] >= t[2] || b[3] <= t[1] || b[1] >= t[3])
        };
        let found = places.iter().find(|p| inside(&frame(p)) && free(&frame(p)));
        let place = found.or(places.first()).copied().unwrap_or(Place { x, y, far: false });
        self.taken.push(frame(&place));
        place
    }
}

/// Moves heights apart until none is closer than `gap` to the next, as near to where they were as is easy.
pub(crate) fn apart(heights: &[f64], gap: f64, lowest: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    // Of equal ones the later is the upper, as in a stack.
    order.sort_by(|a, b| heights[*a].total_cmp(&heights[*b]).then(b.cmp(a)));
    let mut placed = heights.to_vec();
    let mut above = f64::NEG_INFINITY;
    for at in &order {
        placed[*at] = placed[*at].max(above + gap);
        above = placed[*at];
    }
    let mut below = lowest + gap;
    for at in order.iter().rev() {
        placed[*at] = placed[*at].min(below - gap);
        below = placed[*at];
    }
    placed
}
