"""Colours and measures of the page."""

from __future__ import annotations

import gradio as gr

CSS = """
.gradio-container { --body-text-color-subdued: var(--neutral-600); max-width: 1720px !important; margin: 0 auto !important; padding: 6px 16px !important; }
.dark .gradio-container, .gradio-container.dark { --body-text-color-subdued: var(--neutral-300); }
.gradio-container .main { padding: 0 !important; }
.headline { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 18px; }
.headline h1 { font-size: 20px; line-height: 1.3; margin: 0; font-weight: 700; }
.headline p { font-size: 13px; margin: 0; color: var(--body-text-color-subdued); }
#top { align-items: center; }
#examples .html-container, #maps .html-container, #status .html-container { padding: 0 !important; }
.cam-examples { display: grid; grid-template-columns: repeat(4, 1fr); gap: 6px; }
.cam-examples button { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 0; overflow: hidden; cursor: pointer;
  background: var(--block-background-fill); color: var(--body-text-color); display: flex; flex-direction: column; text-align: left; }
.cam-examples button:hover { border-color: var(--color-accent); }
.cam-examples button:focus-visible { outline: 3px solid var(--color-accent); }
.cam-examples img { width: 100%; height: 46px; object-fit: cover; display: block; margin: 0; border-radius: 0; }
.cam-examples span { font-size: 11px; font-weight: 500; line-height: 1.2; padding: 3px 5px; }
#explained p { margin: 0; }
#prediction button { cursor: pointer; }
.prose table { font-size: 13px; border-collapse: collapse; }
.prose table th, .prose table td { border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; padding: 5px 14px 5px 0 !important; }
#controls { align-items: end; }
#controls .block { padding: 6px 10px; }
#buttons { gap: 6px; }
#evidence, #set-table { overflow-x: auto; max-width: calc(100vw - 34px); }
.tabs { max-width: calc(100vw - 18px); }
.tab-wrapper { overflow: hidden; }
.evidence table, .evidence thead, .evidence tbody, .evidence tr { border: 0 !important; }
.evidence table { border-collapse: collapse; font-size: 13px; width: 100%; font-variant-numeric: tabular-nums; }
.evidence th, .evidence td { padding: 5px 8px; border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; text-align: right; white-space: nowrap; }
.evidence th[scope=row], .evidence th:first-child, .evidence td:first-child { text-align: left; }
.evidence th small { display: block; font-weight: 400; color: var(--body-text-color-subdued); }
.evidence abbr { text-decoration: underline dotted; cursor: help; }
.evidence .best { font-weight: 700; background: var(--color-accent-soft); }
.evidence .control { color: var(--body-text-color-subdued); }
.only-read { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media (max-width: 1100px) { #controls { gap: 6px; } #buttons { flex-direction: row !important; min-width: 100% !important; } }
@media (max-width: 700px) { .gradio-container { padding: 6px 8px !important; } .cam-examples { grid-template-columns: repeat(3, 1fr); } }
"""
THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    spacing_size="sm",
    text_size="sm",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)
