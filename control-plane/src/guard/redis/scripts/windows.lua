-- The sliding windows: a list of the times at which calls began, in µs, oldest first, and a sorted set of the tickets for
-- which a place is held while they wait, ticket -> when that ends, in ms. Exact, as window.rs is.

-- Forgets what began before the window; where that is, is searched for and not walked to, since it may be millions.
local function forget_old(begun, window_us)
  local function is_old(index) return NOW_US - redis.call('LINDEX', begun, index) >= window_us end
  local after = redis.call('LLEN', begun)
  if after == 0 or not is_old(0) then return end
  local old = 0
  while after - old > 1 do
    local middle = math.floor((old + after) / 2)
    if is_old(middle) then old = middle else after = middle end
  end
  redis.call('LTRIM', begun, after, -1)
end

-- Whether one more may begin. If not: in how many ms it may, or -1 while that depends on calls that wait, and whether
-- nothing can make it sooner.
local function has_room(begun, held, limit, window_us)
  forget_old(begun, window_us)
  redis.call('ZREMRANGEBYSCORE', held, '-inf', NOW)
  local begins, holds = redis.call('LLEN', begun), redis.call('ZCARD', held)
  local too_many = begins + holds - limit + 1
  if too_many <= 0 then return true end
  if limit == 0 or too_many > begins then return false, -1, 0 end
  local until_us = redis.call('LINDEX', begun, too_many - 1) + window_us - NOW_US
  return false, math.max(1, math.ceil(until_us / 1000)), holds == 0 and 1 or 0
end

local function hold(held, ticket, ms)
  redis.call('ZADD', held, NOW + ms, ticket)
  redis.call('PEXPIRE', held, STATE_TTL_MS)
end

local function begin(begun, window_us)
  -- A server whose clock was set back still keeps the list in order.
  local last = redis.call('LINDEX', begun, -1)
  local at = last and math.max(tonumber(last), NOW_US) or NOW_US
  redis.call('RPUSH', begun, string.format('%d', at))
  redis.call('PEXPIRE', begun, math.ceil(window_us / 1000) + 1000)
end
