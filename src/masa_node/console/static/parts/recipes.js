/** Configuration to paste: for SDKs, agents and chat programs, with this node's real address and a real model. */

import { quoted, shell } from "./paste.js";

const KEY = "MASA_KEY"; // the name of the variable: no key is ever shown here

/** Pairs of a program's name and what is pasted. `needsKey`: callers have to give one. */
export function recipes(base, model, needsKey) {
  const key = needsKey ? `$${KEY}` : "unused";
  return [
    ["Python, openai", openaiPython(base, model, needsKey)],
    ["JavaScript, openai", openaiJs(base, model, needsKey)],
    ["Python, anthropic", anthropicPython(base, model, needsKey)],
    ["Claude Code", claudeCode(base, model, key)],
    ["Codex", codex(base, model, needsKey)],
    ["Open WebUI", `export OPENAI_API_BASE_URL=${shell(`${base}/v1`)}\nexport OPENAI_API_KEY="${key}"\nopen-webui serve --port 3000`],
    ["Continue", continueConfig(base, model, needsKey)],
    ["curl", curl(base, { model, messages: [{ role: "user", content: "Hello" }], stream: true }, {}, needsKey)],
  ];
}

const pythonKey = (needsKey) => (needsKey ? `os.environ[${quoted(KEY)}]` : quoted("unused"));
const importOs = (needsKey) => (needsKey ? "import os\n\n" : "");

function openaiPython(base, model, needsKey) {
  return `${importOs(needsKey)}from openai import OpenAI

client = OpenAI(
    base_url=${quoted(`${base}/v1`)},
    api_key=${pythonKey(needsKey)},
)
answer = client.chat.completions.create(
    model=${quoted(model)},
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`;
}

function openaiJs(base, model, needsKey) {
  return `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: ${quoted(`${base}/v1`)},
  apiKey: ${needsKey ? `process.env.${KEY}` : quoted("unused")},
});
const answer = await client.chat.completions.create({
  model: ${quoted(model)},
  messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.choices[0].message.content);`;
}

function anthropicPython(base, model, needsKey) {
  return `${importOs(needsKey)}from anthropic import Anthropic

client = Anthropic(
    base_url=${quoted(base)},
    api_key=${pythonKey(needsKey)},
)
message = client.messages.create(
    model=${quoted(model)},
    max_tokens=300,
    messages=[{"role": "user", "content": "Hello"}],
)
print(message.content[0].text)`;
}

const claudeCode = (base, model, key) => `export ANTHROPIC_BASE_URL=${shell(base)}
export ANTHROPIC_AUTH_TOKEN="${key}"
export ANTHROPIC_MODEL=${shell(model)}
export ANTHROPIC_SMALL_FAST_MODEL=${shell(model)}
claude`;

const codex = (base, model, needsKey) => `# ~/.codex/config.toml
model = ${quoted(model)}
model_provider = "masa"

[model_providers.masa]
name = "Masa Node"
base_url = ${quoted(`${base}/v1`)}
wire_api = "responses"${needsKey ? `\nenv_key = "${KEY}"` : ""}`;

const continueConfig = (base, model, needsKey) => `# ~/.continue/config.yaml
name: Masa Node
version: 1.0.0
schema: v1
models:
  - name: ${quoted(model)}
    provider: openai
    model: ${quoted(model)}
    apiBase: ${quoted(`${base}/v1`)}
    apiKey: ${needsKey ? `\${{ secrets.${KEY} }}` : "unused"}
    roles: [chat, edit]`;

/** One request of OpenAI's chat as a command; `headers` are those that steer its way. */
export function curl(base, body, headers, needsKey) {
  const lines = [`curl -N ${shell(`${base}/v1/chat/completions`)}`, "-H 'Content-Type: application/json'"];
  if (needsKey) lines.push(`-H "Authorization: Bearer $${KEY}"`);
  for (const [name, value] of Object.entries(headers)) lines.push(`-H ${shell(`${name}: ${value}`)}`);
  return [...lines, `-d ${shell(JSON.stringify(body))}`].join(" \\\n  ");
}

/** The same with the openai package. */
export function python(base, model, prompt, headers, needsKey) {
  const extra = Object.keys(headers).length ? `\n    extra_headers=${quoted(headers)},` : "";
  return `${importOs(needsKey)}from openai import OpenAI

client = OpenAI(base_url=${quoted(`${base}/v1`)}, api_key=${pythonKey(needsKey)})
stream = client.chat.completions.create(
    model=${quoted(model)},
    messages=[{"role": "user", "content": ${quoted(prompt)}}],${extra}
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)`;
}
