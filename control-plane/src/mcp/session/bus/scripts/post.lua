-- A message for the GET stream of a session. That a list has changed is said once until it is read, whoever says it, and
-- never gives way to what comes after it.
-- KEYS: state, events. ARGV: message, its method when it says that a list has changed, how many may wait, ms to live.
-- Answers who reads, or false when there is no such session.
local state, events = KEYS[1], KEYS[2]
if redis.call('HEXISTS', state, 'owner') == 0 then return false end

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function unread(id)
  local read = redis.call('HGET', state, 'read')
  if not read then return true end
  local ms, seq = parts(id)
  local read_ms, read_seq = parts(read)
  return ms > read_ms or (ms == read_ms and seq > read_seq)
end
local function add(message, method)
  local id = redis.call('XADD', events, 'MAXLEN', ARGV[3], '*', 'm', message)
  if method ~= '' then redis.call('HSET', state, 'told:' .. method, id) end
end

local reader = redis.call('HGET', state, 'reader') or ''
if ARGV[2] ~= '' then
  local told = redis.call('HGET', state, 'told:' .. ARGV[2])
  if told and unread(told) then return reader end
end
add(ARGV[1], ARGV[2])
for _, list in ipairs({'tools', 'prompts', 'resources'}) do
  local method = 'notifications/' .. list .. '/list_changed'
  local told = redis.call('HGET', state, 'told:' .. method)
  if told and unread(told) and #redis.call('XRANGE', events, told, told) == 0 then
    add('{"jsonrpc":"2.0","method":"' .. method .. '"}', method)
  end
end
redis.call('PEXPIRE', events, ARGV[4])
return reader
