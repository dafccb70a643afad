// Runs npm in the install container. It is told what to do in one line of JSON on stdin and answers with one report;
// nothing of the packages' own code ever runs. When stdin ends its executor is gone, and so is this.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

// The image's own folder of the user that this runs as: a new volume mounted here takes over its owner.
const HOME = '/home/node';
const WORK = '/tmp/work';
const MARKER = path.join(HOME, '.complete');
const MAX_OUTPUT = 64 * 1024;

class Failure extends Error {
  constructor(code, summary, detail = '') {
    super(summary);
    Object.assign(this, { code, detail });
  }
}

function environment(request) {
  const env = {
    PATH: process.env.PATH,
    HOME: '/tmp',
    npm_config_cache: '/tmp/npm',
    npm_config_userconfig: '/tmp/npmrc',
    npm_config_update_notifier: 'false',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    npm_config_ignore_scripts: 'true',
    npm_config_omit_lockfile_registry_resolved: 'false',
    npm_config_lockfile_version: '3',
    npm_config_fetch_retries: '2',
    npm_config_fetch_retry_mintimeout: '500',
    npm_config_fetch_retry_maxtimeout: '5000',
    npm_config_fetch_timeout: '30000',
  };
  if (request.registry) {
    env.npm_config_registry = request.registry;
    // Whatever the image is set up for, here is one way out.
    env.npm_config_proxy = env.npm_config_https_proxy = request.outlet;
    env.npm_config_noproxy = 'nothing.invalid';
  }
  if (request.ca) {
    fs.writeFileSync('/tmp/ca.pem', request.ca);
    env.NODE_EXTRA_CA_CERTS = '/tmp/ca.pem';
  }
  return env;
}

/// The image's settings for npm may be in the folder that the volume hides or that is emptied next.
function keepUserConfig() {
  try {
    fs.copyFileSync(path.join(HOME, '.npmrc'), '/tmp/npmrc');
  } catch {
    fs.writeFileSync('/tmp/npmrc', '');
  }
}

function npm(args, cwd, env, watch) {
  return new Promise((resolve, reject) => {
    const child = spawn('npm', args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr']) {
      child[name].setEncoding('utf8').on('data', (text) => {
        if (said[name].length < MAX_OUTPUT) said[name] += text;
      });
    }
    let stopped;
    const timer = watch && setInterval(() => {
      stopped ??= watch();
      if (stopped) child.kill('SIGKILL');
    }, 250);
    child.on('error', (error) => {
      clearInterval(timer);
      reject(error.code === 'ENOENT' ? new Failure('DMCP_NO_NPM', 'npm is not in the image') : error);
    });
    child.on('close', (status) => {
      clearInterval(timer);
      if (stopped) reject(stopped);
      else if (status === 0) resolve(said.stdout);
      else reject(npmFailure(said));
    });
  });
}

function npmFailure({ stdout, stderr }) {
  try {
    const { code, summary, detail } = JSON.parse(stdout).error;
    return new Failure(String(code ?? ''), String(summary ?? ''), String(detail ?? ''));
  } catch {
    const code = /^npm (?:error|ERR!) code (\S+)/m.exec(stderr)?.[1] ?? '';
    return new Failure(code, stderr.slice(0, 2000));
  }
}

async function resolve(request, env) {
  fs.mkdirSync(WORK, { recursive: true });
  fs.writeFileSync(path.join(WORK, 'package.json'), JSON.stringify(request.package));
  await npm(['install', '--package-lock-only', '--json'], WORK, env);
  return { lock: fs.readFileSync(path.join(WORK, 'package-lock.json'), 'utf8') };
}

async function install(request, env) {
  if (fs.existsSync(MARKER)) return { reused: true };
  try {
    // The image's own files, and whatever an install that did not end left behind.
    for (const name of fs.readdirSync(HOME)) fs.rmSync(path.join(HOME, name), { recursive: true, force: true });
    fs.writeFileSync(path.join(HOME, 'package.json'), JSON.stringify(request.package));
    fs.writeFileSync(path.join(HOME, 'package-lock.json'), request.lock);
  } catch (error) {
    if (error.code === 'EACCES') throw new Failure('DMCP_NOT_OWNER', error.message);
    throw error;
  }
  await npm(['ci', '--omit=dev', '--json'], HOME, env, diskWatch(request.maxBytes));
  if (sizeOf(HOME) > request.maxBytes) throw new Failure('DMCP_SIZE', 'the packages are too large');
  fs.rmSync(path.join(HOME, 'package.json'));
  fs.rmSync(path.join(HOME, 'package-lock.json'));
  fs.mkdirSync(path.join(HOME, 'node_modules'), { recursive: true });
  fs.writeFileSync(`${MARKER}.new`, '');
  fs.renameSync(`${MARKER}.new`, MARKER);
  fs.fsyncSync(fs.openSync(HOME));
  return { reused: false };
}

/// A volume has no size of its own: an archive that unpacks without end must not fill the engine's disk.
function diskWatch(maxBytes) {
  const free = () => {
    const disk = fs.statfsSync(HOME);
    return disk.bavail * disk.bsize;
  };
  const before = free();
  return () => {
    const now = free();
    if (now < 512 * 1024 * 1024) return new Failure('DMCP_DISK', 'the disk is nearly full');
    // Others write to the same disk: hence the margin; the exact size is measured at the end.
    if (before - now > 2 * maxBytes) return new Failure('DMCP_SIZE', 'the packages are too large');
    return undefined;
  };
}

function sizeOf(folder) {
  let total = 0;
  for (const entry of fs.readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) total += fs.lstatSync(path.join(entry.parentPath ?? entry.path, entry.name)).size;
  }
  return total;
}

async function answer(request) {
  if (request.registry) request.outlet = await outlet.open();
  keepUserConfig();
  const env = environment(request);
  switch (request.action) {
    case 'registry':
      return { registry: (await npm(['config', 'get', 'registry'], '/tmp', env)).trim() };
    case 'resolve':
      return resolve(request, env);
    case 'install':
      return install(request, env);
    case 'own':
      fs.chownSync(HOME, 1000, 1000);
      return {};
    default:
      throw new Failure('', `unknown action ${request.action}`);
  }
}

function finish(report) {
  outlet.report(Buffer.from(JSON.stringify(report)));
  process.stdout.write('', () => process.exit(0));
}

let line = Buffer.alloc(0);
process.stdin.on('end', () => process.exit(1));
process.stdin.on('data', function read(bytes) {
  line = Buffer.concat([line, bytes]);
  const end = line.indexOf(10);
  if (end < 0) return;
  process.stdin.off('data', read);
  process.stdin.on('data', outlet.receive);
  outlet.receive(line.subarray(end + 1));
  answer(JSON.parse(line.subarray(0, end).toString())).then(
    (done) => finish({ done }),
    ({ code, message, detail }) =>
      finish({ failed: { code: String(code ?? ''), summary: String(message), detail: String(detail ?? '') } }),
  );
});
