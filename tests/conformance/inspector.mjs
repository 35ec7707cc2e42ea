// The official inspector's command line over stdio: tools/list --strict, every
// tool called once with success, resources listed and read; each as a client of
// initialize and as one of 2026-07-28. It checks results against its schemas.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { equal, has, main, ok } from './lib/check.mjs';
import { codingWorkspace } from './lib/server.mjs';

const program = process.argv[2];
const inspector = join(dirname(createRequire(import.meta.url).resolve(
  '@modelcontextprotocol/inspector/package.json')),
                       'clients/cli/build/index.js');

/// Arguments that succeed in the workspace, in an order that makes sense. A
/// tool that is not here fails the check: each is to be called.
const calls = [
  ['file_list', { path: '.' }, 'README.md'],
  ['file_read', { path: 'README.md' }, '# Sums'],
  ['file_search', { pattern: '**/*.sh' }, 'src/add.sh'],
  ['file_write', { path: 'empty.txt', content: '' }, ''],
  ['file_read', { path: 'empty.txt' }, ''],
  ['file_edit', { path: 'README.md', old_text: 'Run', new_text: 'Please run' },
   'README.md'],
  ['file_delete', { path: 'empty.txt' }, 'empty.txt'],
  ['terminal_exec', { command: 'true' }, ''],
  ['terminal_exec', { command: 'echo hello' }, 'hello'],
  ['git_status', {}, 'README.md'],
  ['git_diff', {}, '+Please run test.sh.'],
  ['git_commit', { message: 'Be polite', files: ['README.md'] }, ''],
  ['git_log', { count: 1 }, 'Be polite'],
];
/// Tools that only make sense after a call of another in one session, which
/// the inspector, a process for each call, cannot make: they must answer with
/// a result that is an error.
const wantSession = [
  ['terminal_output', { id: 'none' }],
  ['terminal_kill', { id: 'none' }],
];

function run(args) {
  return new Promise(resolve => {
    const child = spawn(process.execPath,
                        [inspector, '--format', 'json', ...args],
                        { stdio: ['ignore', 'pipe', 'pipe'] });
    const clock = setTimeout(() => child.kill('SIGKILL'), 30_000);
    let out = '', err = '';
    child.stdout.on('data', data => { out += data; });
    child.stderr.on('data', data => { err += data; });
    child.on('close', code => {
      clearTimeout(clock);
      let result = null;
      try {
        result = JSON.parse(out).result;
      } catch { /* the caller looks at what was said */ }
      resolve({ code, result, said: out + err });
    });
  });
}

async function inspect(era, folder) {
  const ask = (method, ...more) => run([
    '--protocol-era', era, '--method', method, ...more, '--', program,
    '--workspace', folder]);
  const call = (name, args) => ask('tools/call', '--tool-name', name,
                                   '--tool-args-json', JSON.stringify(args));

  const list = await ask('tools/list', '--strict');
  ok(list.code === 0, `${era}: tools/list --strict finds no fault`, list.said);
  const names = (list.result?.tools ?? []).map(tool => tool.name);
  ok(names.length >= 11, `${era}: tools are listed`, list.said);
  for (const [name, args, part] of calls) {
    const { code, result, said } = await call(name, args);
    if (ok(code === 0, `${era}: ${name} ${JSON.stringify(args)}`, said))
      has(result.content.map(block => block.text ?? '').join('\n'), part,
          `${era}: ${name} says what it should`);
  }
  const others = names.filter(name => !calls.some(one => one[0] === name));
  for (const name of others) {
    const known = wantSession.find(one => one[0] === name);
    if (!ok(known, `${era}: ${name} has arguments here to be called with`))
      continue;
    const { code, result, said } = await call(name, known[1]);
    // 5: the inspector's exit code for a result with isError.
    ok(code === 5 && result?.isError === true,
       `${era}: ${name} without its session is a result that is an error`,
       said);
  }

  const templates = await ask('resources/templates/list');
  ok(templates.code === 0 && templates.result.resourceTemplates.length > 0,
     `${era}: resource templates are listed`, templates.said);
  const resource = await ask('resources/read', '--uri',
                             `file://${join(folder, 'README.md')}`);
  if (ok(resource.code === 0, `${era}: a file is read as a resource`,
         resource.said))
    equal(resource.result.contents[0].text, '# Sums\n\nPlease run test.sh.\n',
          `${era}: the resource is the file`);
}

await main(async () => {
  for (const era of ['legacy', 'modern']) {
    const workspace = codingWorkspace();
    try {
      writeFileSync(join(workspace.folder, 'untracked.txt'), 'x\n');
      await inspect(era, workspace.folder);
    } finally {
      workspace.remove();
    }
  }
});
