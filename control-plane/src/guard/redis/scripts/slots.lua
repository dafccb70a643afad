-- What the scripts share that give slots and take them back; it comes before each of them. One slot is one execution.
--
-- KEYS 1 meta     hash        epoch: which life of this state it is; turn: grows with each wait and each slot given
--      2 leases   sorted set  ticket -> when it expires, in ms: who has a slot
--      3 lanes    hash        tenant -> "running waiting limit weight served", of those that run or wait
--      4 queue    sorted set  the tickets that wait, all with one score: by tenant, within it in the order of their coming
--      5 waiting  sorted set  ticket -> when it expires, in ms: the same tickets
-- ARGV 1 the epoch that the caller knows, 2 how many slots there are, 3 for how many ms one waits without a sign of life,
--      4 what the channel of a replica begins with, 5 for how many ms this state outlives its last use
--
-- A ticket is "tenant turn replica.number": no tenant has a space in it, and a turn has 16 digits. The time is the
-- server's own. Nothing but KEYS, ARGV, TIME and redis.call is used, so that the same text runs anywhere.

local META, LEASES, LANES, QUEUE, WAITING = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local KNOWN_EPOCH, SLOTS, SIGN_MS, CHANNEL = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local STATE_TTL_MS = tonumber(ARGV[5])

local time = redis.call('TIME')
local NOW_US = time[1] * 1000000 + time[2]
local NOW = math.floor(NOW_US / 1000)

-- Lanes as this script sees them. What was touched is written back at its end.
local lanes, touched, all_loaded = {}, {}, false
local taken, queued = 0, 0

local function read(text)
  local running, waiting, limit, weight, served = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  return {
    running = tonumber(running), waiting = tonumber(waiting), limit = tonumber(limit),
    weight = tonumber(weight), served = tonumber(served),
  }
end

local function lane(tenant)
  touched[tenant] = true
  if not lanes[tenant] then
    local text = redis.call('HGET', LANES, tenant)
    lanes[tenant] = text and read(text) or { running = 0, waiting = 0, limit = 0, weight = 1, served = 0 }
  end
  return lanes[tenant]
end

local function load_all()
  if all_loaded then return end
  all_loaded = true
  local stored = redis.call('HGETALL', LANES)
  for i = 1, #stored, 2 do
    lanes[stored[i]] = lanes[stored[i]] or read(stored[i + 1])
  end
end

local function tenant_of(ticket) return string.match(ticket, '^[^ ]+') end
local function turn_of(ticket) return string.match(ticket, '^[^ ]+ (%d+) ') end
local function next_turn() return redis.call('HINCRBY', META, 'turn', 1) end

local function tell(ticket, what)
  redis.call('PUBLISH', CHANNEL .. string.match(ticket, ' ([^ .]+)%.%d+$'), what .. ticket)
end

local function lease(ticket, ms)
  if redis.call('ZADD', LEASES, NOW + ms, ticket) == 1 then
    local one = lane(tenant_of(ticket))
    one.running, one.served, taken = one.running + 1, next_turn(), taken + 1
  end
end

local function release(ticket)
  if redis.call('ZREM', LEASES, ticket) == 0 then return false end
  local one = lane(tenant_of(ticket))
  one.running, taken = math.max(0, one.running - 1), taken - 1
  return true
end

local function stop_waiting(ticket)
  if redis.call('ZREM', WAITING, ticket) == 0 then return false end
  redis.call('ZREM', QUEUE, ticket)
  local one = lane(tenant_of(ticket))
  one.waiting, queued = math.max(0, one.waiting - 1), queued - 1
  return true
end

-- The first of a tenant's tickets that wait, or the last.
local function first_waiting(tenant)
  return redis.call('ZRANGEBYLEX', QUEUE, '[' .. tenant .. ' ', '(' .. tenant .. '!', 'LIMIT', 0, 1)[1]
end
local function last_waiting(tenant)
  return redis.call('ZREVRANGEBYLEX', QUEUE, '(' .. tenant .. '!', '[' .. tenant .. ' ', 'LIMIT', 0, 1)[1]
end

-- Where there is no state, or it was lost, one begins anew, and nothing of an older one counts.
local function open()
  local epoch = redis.call('HGET', META, 'epoch')
  if not epoch then
    epoch = string.format('%d.%06d', time[1], time[2])
    redis.call('DEL', LEASES, LANES, QUEUE, WAITING)
    redis.call('HSET', META, 'epoch', epoch, 'turn', 0)
  end
  taken, queued = redis.call('ZCARD', LEASES), redis.call('ZCARD', WAITING)
  return epoch
end

-- Counts out who gave no sign of life in time, a thousand at once, so that no script takes long. Answers whether a slot
-- came free.
local function forget_expired()
  local freed = false
  for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', NOW, 'LIMIT', 0, 1000)) do
    freed = release(ticket) or freed
  end
  for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', WAITING, '-inf', NOW, 'LIMIT', 0, 1000)) do
    stop_waiting(ticket)
  end
  return freed
end

-- The rule is that of guard/fairness.rs: the fewest running for its weight, then who was served the longest ago, then
-- who came first.
local function comes_before(a, b)
  local one, other = lanes[a], lanes[b]
  local mine, theirs = one.running * other.weight, other.running * one.weight
  if mine ~= theirs then return mine < theirs end
  if one.served ~= other.served then return one.served < other.served end
  return turn_of(first_waiting(a)) < turn_of(first_waiting(b))
end

-- Gives what is free to who waits and may have it, as a lease that is short until its replica claims it.
local function hand_out()
  while taken < SLOTS and queued > 0 do
    load_all()
    local best
    for tenant, one in pairs(lanes) do
      local may = one.waiting > 0 and one.running < one.limit
      if may and (not best or comes_before(tenant, best)) then best = tenant end
    end
    if not best then return end
    local ticket = first_waiting(best)
    stop_waiting(ticket)
    lease(ticket, SIGN_MS)
    tell(ticket, '+')
  end
end

local function close()
  for tenant in pairs(touched) do
    local one = lanes[tenant]
    if one.running == 0 and one.waiting == 0 then
      redis.call('HDEL', LANES, tenant)
    else
      local text = string.format('%d %d %d %d %d', one.running, one.waiting, one.limit, one.weight, one.served)
      redis.call('HSET', LANES, tenant, text)
    end
  end
  for i = 1, 5 do redis.call('PEXPIRE', KEYS[i], STATE_TTL_MS) end
end
