// What the page does beside showing: plots, zoom, copying, colours and print.
function start() {
	for (const b of document.querySelectorAll("button[data-copy]")) {
		b.hidden = false;
		b.onclick = () => copy(b);
	}
	const figures = document.querySelectorAll("figure[data-plot]");
	if (!figures.length) return;
	document.querySelector(".tools").hidden = false;
	document.querySelector(".lane").hidden = !marks.length;
	lane.box.onkeydown = e => lane.key(e);
	for (const f of figures) figure(f.querySelector(".plot"), told.plots[+f.dataset.plot]);
	for (const b of document.querySelectorAll("[data-zoom]")) b.onclick = () => zoom(b.dataset.zoom);
	document.querySelector("[data-zoom=fault]").hidden = !told.fault;
	new ResizeObserver(fit).observe(document.querySelector("#timeline"));
	matchMedia("(prefers-color-scheme: dark)").onchange = repaint;
	addEventListener("beforeprint", () => print(true));
	addEventListener("afterprint", () => print(false));
	show(whole.from, whole.to);
}

function zoom(how) {
	const width = shown.to - shown.from, middle = (shown.from + shown.to) / 2;
	switch (how) {
	case "all": return show(whole.from, whole.to);
	case "in": return show(middle - width / 4, middle + width / 4);
	case "out": return show(middle - width, middle + width);
	case "back": return show(shown.from - width / 2, shown.to - width / 2);
	case "on": return show(shown.from + width / 2, shown.to + width / 2);
	case "fault": {
		const [from, to] = told.fault, around = Math.max((to - from) / 4, 1000);
		return show(from - around, to + around);
	}
	}
}

// fit gives plots the width that there is.
function fit() {
	const width = document.querySelector("figure .plot").clientWidth;
	for (const u of drawn) if (u.width !== width) u.setSize({ width, height: u.height });
	lane.place(shown.from, shown.to);
}

function repaint() {
	for (const u of drawn) u.redraw(false);
}

// print shows everything, in the colours of paper, and takes it back.
function print(on) {
	document.documentElement.classList.toggle("printing", on);
	if (on) show(whole.from, whole.to);
	for (const d of document.querySelectorAll(".flows details")) {
		if (on && !d.open) d.dataset.opened = d.open = true;
		else if (!on && d.dataset.opened) { d.open = false; delete d.dataset.opened; }
	}
	repaint();
}

async function copy(b) {
	const code = b.previousElementSibling, range = document.createRange();
	try {
		await navigator.clipboard.writeText(code.textContent);
	} catch {
		range.selectNodeContents(code); // a page that was not fetched safely may only copy what is selected
		getSelection().removeAllRanges();
		getSelection().addRange(range);
		if (!document.execCommand("copy")) return;
	}
	b.textContent = "Copied";
	setTimeout(() => { b.textContent = "Copy"; }, 1500);
}

start();
