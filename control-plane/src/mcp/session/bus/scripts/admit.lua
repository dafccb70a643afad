-- Whether one more session may begin, and which idle one must go for it: of the tenant itself when it has all that it may,
-- else of one that has at least as many. The one that goes has been idle the longest.
-- KEYS: all, tenants, busy. ARGV: what the keys of single tenants begin with, tenant, id, how many of a tenant, how many
-- in all, ms after which an idle one is gone.
-- Answers {1}, {1, tenant, id} of the one that goes, or {0, how many there may be}.
local all, tenants, busy = KEYS[1], KEYS[2], KEYS[3]
local prefix, tenant, id = ARGV[1], ARGV[2], ARGV[3]
local most, max, ttl = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function count(tenant)
  redis.call('ZREMRANGEBYSCORE', prefix .. tenant, '-inf', now - ttl)
  local left = redis.call('ZCARD', prefix .. tenant)
  if left == 0 then redis.call('ZREM', tenants, tenant) else redis.call('ZADD', tenants, left, tenant) end
  return left
end
local function longest_idle(tenant)
  for _, candidate in ipairs(redis.call('ZRANGE', prefix .. tenant, 0, 63)) do
    local until_then = redis.call('ZSCORE', busy, candidate)
    if not until_then or tonumber(until_then) < now then return candidate end
  end
  return nil
end
local function let_in(evicted_tenant, evicted)
  if evicted then
    redis.call('ZREM', prefix .. evicted_tenant, evicted)
    redis.call('ZREM', all, evicted)
    count(evicted_tenant)
  end
  redis.call('ZADD', all, now, id)
  redis.call('ZADD', prefix .. tenant, now, id)
  count(tenant)
  for _, key in ipairs({all, tenants, busy, prefix .. tenant}) do redis.call('PEXPIRE', key, ttl * 2) end
  if evicted then return {1, evicted_tenant, evicted} end
  return {1}
end

redis.call('ZREMRANGEBYSCORE', all, '-inf', now - ttl)
redis.call('ZREMRANGEBYSCORE', busy, '-inf', now)
local own = count(tenant)
if own >= most then
  local evicted = longest_idle(tenant)
  if evicted then return let_in(tenant, evicted) end
  return {0, most}
end
if redis.call('ZCARD', all) < max then return let_in() end
for _, other in ipairs(redis.call('ZREVRANGE', tenants, 0, 7)) do
  if count(other) >= own then
    local evicted = longest_idle(other)
    if evicted then return let_in(other, evicted) end
  end
end
return {0, max}
